"""The examples of the documentation run, on any number of ranks, and its pages name what exists."""

import re
from pathlib import Path

import pytest
from mpi4py import MPI

from dolfinx_neural_topo.io import read_mesh

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = [DOCS / "getting_started.md", *sorted((DOCS / "extending").glob("*.md"))]
PAGES = [*sorted(DOCS.glob("*.md")), *EXAMPLES[1:]]


def test_there_is_a_page_for_everything_of_ones_own():
    assert {page.stem for page in EXAMPLES[1:]} == {
        "own_pde", "own_functional", "own_network", "own_optimizer", "own_stage"
    }  # fmt: skip


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_example_runs(page, tmp_path, monkeypatch, capsys):
    *_, example = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert example.startswith("import numpy as np\n"), "the last block of a page is complete"
    monkeypatch.chdir(MPI.COMM_WORLD.bcast(str(tmp_path)))
    names: dict = {}
    exec(compile(example, str(page), "exec"), names)  # our own text
    best = names.get("found") or names["result"]
    assert best.objective < best.history.objective[0]
    if "built" in names:
        assert names["built"].components == 1 and Path("beam.png").stat().st_size > 5000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!http)([^)#\s]*)", text):
        assert not target or (page.parent / target).exists(), target
    assert "[](" not in text, "a link without words is nothing on a code host"


def test_table_of_a_problem_file_names_every_key():
    text = (DOCS / "run_from_a_file.md").read_text()
    source = (ROOT / "dolfinx_neural_topo" / "problem" / "reading.py").read_text()
    keys = re.findall(r"table\.(?:number|numbers|text|texts|count|flag|values)\(\s*\"(\w+)\"", source)
    assert len(set(keys)) > 20
    for key in keys:
        assert re.search(rf"\b{key}\b", text), key


def test_mesh_of_ones_own_is_written_and_has_its_groups(tmp_path, monkeypatch):
    (script,) = re.findall(r"```python\n(.*?)```", (DOCS / "run_from_a_file.md").read_text(), flags=re.DOTALL)
    folder = MPI.COMM_WORLD.bcast(str(tmp_path))
    monkeypatch.chdir(folder)
    if MPI.COMM_WORLD.rank == 0:
        exec(compile(script, "run_from_a_file.md", "exec"), {})  # our own text
    MPI.COMM_WORLD.barrier()
    tagged = read_mesh(Path(folder) / "plate.msh")
    assert set(tagged.cell_groups) == {"plate"} and set(tagged.facet_groups) == {"hole", "right"}
