"""Hundreds of bad inputs, each of which must be answered: a command, no test of pytest.

    ./with-fenicsx python3 tests/attack.py                         # on 1, 2 and 3 ranks
    ./with-fenicsx python3 tests/attack.py --ranks 2 --only 'symmetry'
    ./with-fenicsx python3 tests/attack.py --ranks 2 --every 4     # a sample, which CI takes

An attack is *clear* (refused by an error of this package that names what is wrong), *accepted* (right, and
its result is right), *silent* (goes through, wrongly), *raw* (an error of a layer below, or a traceback), or
a *hang*. The command fails unless the last three are nil. The cases are in `tests/attacks/`.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("clear", "accepted", "silent", "raw", "hang")
LATER = 4.0
"""Seconds that the other ranks get when the first one has its answer."""

LAUNCHER = ("OMPI_COMM", "PMIX_", "PRTE_JOB", "PMI_")  # the user's own settings (PRTE_MCA_...) stay


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ranks", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="numbers of ranks"
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="attacks whose topic or name matches")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="a sample: every N-th of them")
    parser.add_argument("--json", metavar="FILE", help="where to write all answers")
    parser.add_argument("--walk", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.walk:
        return walk(arguments.log, arguments.only, arguments.every, *arguments.walk)
    answers: list[dict] = []
    for ranks in arguments.ranks:
        answers += drive(ranks, arguments.only, arguments.every)
        if arguments.json:
            Path(arguments.json).write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return report(answers)


# --- the driver: starts the ranks, and starts them again after a hang -----------------------------------


def drive(ranks: int, only: str, every: int) -> list[dict]:
    """Carry all attacks out on a number of ranks, those on one rank in two processes at a time."""
    begin, parts = time.monotonic(), 2 if ranks == 1 else 1
    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        shares = pool.map(lambda part: _drive(ranks, only, every, part, parts), range(parts))
        answers = [answer for share in shares for answer in share]
    print(f"{ranks} ranks: {len(answers)} attacks in {time.monotonic() - begin:.0f} s", flush=True)
    return answers


def _drive(ranks: int, only: str, every: int, part: int, parts: int) -> list[dict]:
    """Carry a part of the attacks out; after a hang or a crash go on with the next one."""
    answers: list[dict] = []
    start = part
    while True:
        with tempfile.TemporaryDirectory(prefix="attack-log-") as folder:
            log = Path(folder)
            status, output = _start(ranks, only, every, start, parts, log)
            lines = [json.loads(line) for line in (log / "answers").read_text().splitlines()]
            answers += [line for line in lines if "kind" in line]
            if status == 0 and lines and lines[-1].get("end"):
                break
            opened = [line for line in lines if "open" in line]
            if not opened:
                raise SystemExit(f"the attacks do not start on {ranks} ranks:\n{output[-3000:]}")
            last = opened[-1]
            if not any(answer["number"] == last["number"] for answer in answers):
                answers.append(_ended_in(last, ranks, log, status, output))
                print(f"{ranks} ranks: {answers[-1]['kind']}: {last['name']}", flush=True)
            start = last["number"] + parts
    return answers


def _start(ranks: int, only: str, every: int, start: int, step: int, log: Path) -> tuple[int, str]:
    (log / "answers").touch()
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    script = str(Path(__file__).resolve())
    command = [*launch, sys.executable, script, "--walk", str(start), str(step), "--only", only]
    command += ["--every", str(every)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}
    environment["OMP_NUM_THREADS"] = "1"
    with (log / "output").open("w+") as file:
        # in a folder of its own, for what attacks leave where they are
        command += ["--log", str(log)]
        run = subprocess.run(command, stdout=file, stderr=file, env=environment, cwd=log, check=False)
        file.seek(0)
        return run.returncode, file.read()


def _ended_in(last: dict, ranks: int, log: Path, status: int, output: str) -> dict:
    """Return the answer of the attack during which the ranks ended."""
    traces = {path.suffix: path.read_text() for path in sorted(log.glob("trace.*"))}
    late = {rank: trace for rank, trace in traces.items() if "Timeout" in trace}
    if late:
        where = "; ".join(f"rank {rank[1:]} in {_innermost(trace)}" for rank, trace in late.items())
        return {**last, "ranks": ranks, "kind": "hang", "message": where}
    told = [line for line in output.splitlines() if re.search(r"Error|error|Exception|signal", line)]
    message = f"the process ended with status {status}: {' | '.join(told[-3:])}"
    return {**last, "ranks": ranks, "kind": "raw", "message": message[:600]}


def _innermost(trace: str) -> str:
    """Return the innermost lines of a trace that are in this project."""
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', trace.split("most recent call first")[-1])
    ours = [f"{Path(path).name}:{line} {name}" for path, line, name in frames if "site-packages" not in path]
    return " < ".join(ours[:4])


def report(answers: list[dict]) -> int:
    """Print the table, then what is not as it must be; return the exit status."""
    wrong = [answer for answer in answers if answer["kind"] in KINDS[2:]]
    ranks = sorted({answer["ranks"] for answer in answers})
    topics = list(dict.fromkeys(answer["topic"] for answer in answers))
    counts = collections.Counter((answer["topic"], answer["ranks"], answer["kind"]) for answer in answers)
    print(f"\n{'topic':<22}{'ranks':>6}{'tried':>8}" + "".join(f"{kind:>10}" for kind in KINDS))
    for topic in [*topics, "all"]:
        for number in ranks:
            row = [
                sum(n for (t, r, k), n in counts.items() if topic in (t, "all") and (r, k) == (number, kind))
                for kind in KINDS
            ]
            if sum(row):
                print(f"{topic:<22}{number:>6}{sum(row):>8}" + "".join(f"{n:>10}" for n in row))
    print()
    for answer in sorted(wrong, key=lambda answer: (answer["topic"], answer["name"])):
        print(f"{answer['kind']:<7}{answer['ranks']} ranks  {answer['topic']}: {answer['name']}")
        print(f"       {answer['message']}")
    distinct = len({(answer["topic"], answer["name"]) for answer in answers})
    print(f"{distinct} different attacks, {len(answers)} in all, {len(wrong)} not as they must be")
    return int(bool(wrong))


# --- the walk: on every rank, one attack after the other -------------------------------------------------


def walk(log: Path, only: str, every: int, start: int, step: int) -> int:
    """Carry out every `step`-th attack from a number on, and write each answer down as it comes."""
    import faulthandler
    import gc

    from attacks import all_cases
    from attacks.world import tidy
    from mpi4py import MPI

    from dolfinx_neural_topo.errors import agree

    agree(MPI.COMM_WORLD, None)  # ranks have met before the first attack
    comm = MPI.COMM_WORLD.Dup()  # messages of the package cannot be taken for ours
    cases = [case for case in all_cases() if comm.size in case.ranks]
    matching = [case for case in cases if re.search(only, f"{case.topic}: {case.name}")]
    chosen = enumerate(matching[::every])
    gc.freeze()
    gc.disable()  # what PETSc destroys must be destroyed together
    answers = (log / "answers").open("a") if comm.rank == 0 else None
    trace = (log / f"trace.{comm.rank}").open("w")

    def write(**line: object) -> None:
        if answers is not None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

    for number, case in chosen:
        if number < start or (number - start) % step:
            continue
        about = {"number": number, "topic": case.topic, "name": case.name}
        comm.barrier()
        write(open=True, **about)
        faulthandler.dump_traceback_later(case.seconds, exit=True, file=trace)
        begin = time.monotonic()
        mine, failure = answer_to(case)
        leave(failure)
        faulthandler.dump_traceback_later(min(case.seconds, LATER), exit=True, file=trace)
        everyone = comm.allgather(mine)
        faulthandler.cancel_dump_traceback_later()
        kind, message = together(everyone)
        seconds = round(time.monotonic() - begin, 3)
        write(**about, ranks=comm.size, kind=kind, message=message, seconds=seconds)
        tidy()
        gc.collect()
    write(end=True)
    return 0


def answer_to(case) -> tuple[tuple[str, str, str], BaseException | None]:
    """Carry an attack out; return kind, type and message of this rank's answer, and its error."""
    try:
        case.action()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return _judged(error, case.says), error
    if case.says is not None and not case.may_pass:
        return ("silent", "", f"accepted; expected a refusal that speaks of /{case.says}/"), None
    return ("accepted", "", ""), None


def _judged(error: BaseException, says: str | None) -> tuple[str, str, str]:
    """Return kind, type and message of the answer that an error is."""
    from attacks.case import Raw, Wrong

    from dolfinx_neural_topo.errors import NeuralTopoError

    told = (NeuralTopoError, FileNotFoundError, ImportError)  # the last two as they are documented
    name, message = type(error).__name__, " ".join(str(error).split())[:400]
    if isinstance(error, Wrong):
        return "silent", name, message
    if not isinstance(error, told) or isinstance(error, Raw):
        return "raw", name, f"{name}: {message}"
    if says is None:
        return "raw", name, f"refused though it is right: {name}: {message}"
    if not re.search(says, message, re.IGNORECASE):
        return "raw", name, f"refused, but does not speak of /{says}/: {name}: {message}"
    return "clear", name, message


def leave(failure: BaseException | None) -> None:
    """Do what the package does when a program ends: tell ranks that still wait in a call of it."""
    from mpi4py import MPI

    from dolfinx_neural_topo._meeting import group_of
    from dolfinx_neural_topo.errors import agreement

    agreement.leave(failure)
    group_of(MPI.COMM_WORLD).ended = False


def together(everyone: list[tuple[str, str, str]]) -> tuple[str, str]:
    """Return the answer of all ranks: the worst of them, or that they do not agree."""
    kind, _, message = max(everyone, key=lambda answer: KINDS.index(answer[0]))
    if KINDS.index(kind) < 2 and len({answer[:2] for answer in everyone}) > 1:
        told = "; ".join(f"rank {k}: {kind} {name}" for k, (kind, name, _) in enumerate(everyone))
        return "silent", f"the ranks do not agree: {told}"
    return kind, message


if __name__ == "__main__":
    sys.exit(main())
