"""Every run of a report with where it comes from: commit, versions, machine; and the runs that failed."""

from __future__ import annotations

from collections.abc import Sequence

from dolfinx_neural_topo.study import statistics
from dolfinx_neural_topo.study.store import Record
from dolfinx_neural_topo.study.tables import TextTable


def runs(records: Sequence[Record]) -> TextTable:
    """Every run with where it comes from; environments are lettered, see `environments`."""
    letters = environments(records)
    rows = [
        [
            *(run["task"], run["method"], str(run["seed"]), run["start"], str(run["evaluations"])),
            f"{run['compliance']:.6g}{'*' if run['volume_exceeded'] else ''}",
            f"{run['volume']:.6f}",
            f"{run['exact_volume_compliance']:.6g}",
            f"{run['analysis']['threshold_compliance']:.6g}",
            f"{run['analysis']['greyness']:.3f}",
            *(str(run["analysis"]["components"]), str(run["solves"]), f"{run['seconds']:.1f}"),
            letters[_environment(run)],
        ]
        for run in statistics.finished(records)
    ]
    header = [
        "task",
        "method",
        "seed",
        "start",
        "evaluations",
        "compliance",
        "volume",
        "at exact volume",
        "0-1",
    ]
    header += ["greyness", "pieces", "solves", "seconds", "environment"]
    return TextTable("All runs.", header, rows)


def environments(records: Sequence[Record]) -> dict[str, str]:
    """Return a letter for each combination of commit, versions, BLAS, ranks, threads and machine."""
    found = dict.fromkeys(_environment(run) for run in statistics.finished(records))
    return {text: _letters(number) for number, text in enumerate(found)}


def environment_table(records: Sequence[Record]) -> TextTable:
    """What the letters in the list of runs stand for."""
    rows = [[letter, text] for text, letter in environments(records).items()]
    return TextTable("Environments of the runs.", ["environment", "what it was"], rows)


def _letters(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else _letters(number // 26 - 1) + _letters(number % 26)


def _environment(run: Record) -> str:
    where = run["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return (
        f"commit {where['commit']}; {versions}; BLAS {where['blas']}; "
        f"{where['ranks']} rank(s) of {where['threads']} thread(s); {where['machine']}"
    )


def failures(records: Sequence[Record]) -> TextTable:
    """Runs that failed, with their errors."""
    failed = [run for run in records if run["status"] != "ok"]
    rows = [[run["task"], run["method"], str(run["seed"]), run["start"], run["error"]] for run in failed]
    return TextTable("Failed runs.", ["task", "method", "seed", "start", "error"], rows)
