"""The README says what runs."""

import re
from pathlib import Path

from mpi4py import MPI

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_example_of_a_users_own_pde_runs_and_improves_the_design(
    tmp_path, monkeypatch, capsys, record_property
):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 28
    monkeypatch.chdir(MPI.COMM_WORLD.bcast(str(tmp_path)))
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)  # our own text
    result = names["result"]
    share = result.objective / names["temperature"].value(0.4 + 0.0 * result.rho)
    record_property("mean temperature / uniform", share)
    assert share < 0.4
    assert abs(result.volume - 0.4) < 1e-6
    MPI.COMM_WORLD.barrier()
    assert Path("heat_sink.png").stat().st_size > 10_000
    names["state"].destroy()


def test_every_file_and_command_named_exists():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    for script in re.findall(r"(?:demos|meshes|tests)/[\w/]+\.(?:py|msh|csv|png|html)", README):
        assert (ROOT / script).exists() or script.startswith("demos/output/"), script  # those a demo leaves


def test_extras_named_are_declared():
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    for group in re.findall(r"pip install \.?\[([\w,]+)\]|`\.\[([\w,]+)\]`", README):
        assert set("".join(group).split(",")) <= set(extras)
