"""The command line: no traceback for anything that a user can do, and exit codes that tell."""

from __future__ import annotations

import contextlib
import io

from attacks.case import Raw, Topic, Wrong, right
from attacks.damage import full_disk
from attacks.world import comm, folder, on_root
from dolfinx_neural_topo import errors
from dolfinx_neural_topo.cli.main import main

t = Topic("command line")
TASK = "mbb_beam_8x4_0.5"


def call(*arguments: str) -> int:
    """Call the command line here; return its exit status, and raise what it says on standard error."""
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            status = main([str(each) for each in arguments])
        except SystemExit as error:
            status = error.code
        except BaseException as error:
            raise Raw(f"a traceback: {type(error).__name__}: {error}") from None
    return judged(status, comm.bcast(told.getvalue(), root=0))


def judged(status: int, told: str) -> int:
    """Return 0, or raise what was said beside another status."""
    if "Traceback" in told:
        raise Raw(told[-300:])
    if status == 0:
        return 0
    if status not in (1, 2):
        raise Wrong(f"exit status {status}")
    if not told.strip():
        raise Wrong(f"exit status {status} without a word")
    raise errors.InputError(told.strip())


def run(*more, task=TASK, evaluations=3):
    return call("run", task, "--method", "oc", "--evaluations", evaluations, *more)


t.accept("run", lambda: run())
t.accept("run --out", lambda: run("--out", folder() / "new" / "deep"))
t.accept("tasks", lambda: call("tasks"))
t.accept("tasks of a pattern", lambda: call("tasks", "mbb*"))
for arguments, says in (
    ((), "usage|command"),
    (("fly",), "fly|invalid choice"),
    (("run",), "TASK|required"),
    (("run", ""), "task"),
    (("run", "mbb"), "task|nearest"),
    (("run", "mbb_beam_0x0_0.5"), "cells|width|size"),
    (("run", "mbb_beam_3x4_0.5"), "cells|width|size"),
    (("run", "mbb_beam_-8x4_0.5"), "task"),
    (("run", "mbb_beam_8x4_1.5"), "volume_fraction"),
    (("run", "mbb_beam_8x4_0.0"), "volume_fraction"),
    (("run", "mbb_beam_8x4_nan"), "task"),
    (("run", "mbb_beam_8x4x4_0.5"), "dimensions"),
    (("run", "mbb_beam_99999999x99999999_0.5"), "cells|memory|large"),
    (("run", "mbb_beam_999999999999999999999x4_0.5"), "cells|memory|large"),
    (("run", "cantilever_3d_99999x99999x99999_0.2"), "cells|memory|large"),
    (("run", "l_shape_7.5_64x64_0.4"), "task|aspect"),
    (("run", "l_shape_0.0_64x64_0.4"), "task|aspect|volume"),
    (("run", "l_shape_64x64_0.4"), "task"),
    (("run", "../../etc/passwd"), "task"),
    (("run", "mbb_beam_8x4_0.5\0"), "task"),
    (("run", TASK, "--method", "magic"), "method"),
    (("run", TASK, "--method", ""), "method"),
    (("run", TASK, "--seed", "1e23"), "seed"),
    (("run", TASK, "--seed", "99999999999999999999999"), "seed"),
    (("run", TASK, "--seed", "-1"), "seed"),
    (("run", TASK, "--seed", "a"), "seed"),
    (("run", TASK, "--evaluations", "0"), "evaluations"),
    (("run", TASK, "--evaluations", "-5"), "evaluations"),
    (("run", TASK, "--evaluations", "2.5"), "evaluations"),
    (("run", TASK, "--evaluations", "nan"), "evaluations"),
    (("run", TASK, "--start", "warm"), "start"),
    (("run", TASK, "--start", "network:-1"), "start"),
    (("run", TASK, "--start", "network:99999999999999999999999", "--method", "oc"), "start|seed"),
    (("run", TASK, "--method", "cnn-lbfgs", "--start", "uniform"), "start"),
    (("run", TASK, "--bogus"), "bogus"),
    (("run", TASK, "--out", ""), "out"),
    (("run", TASK, "--out", "/proc/nope"), "out|/proc"),
    (("run", TASK, "--out", "/dev/null/x"), "out|/dev/null"),
    (("run", TASK, "--out", "a\0b"), "out"),
    (("run", TASK, "--out", "x" * 300), "out"),
    (("tasks", "nope_*"), "pattern|task"),
    (
        (
            "tasks",
            "[",
        ),
        "pattern|task",
    ),
    (("tasks", ""), "pattern|task"),
    (("profile", "nope"), "task"),
    (("profile", TASK, "--evaluations", "1"), "evaluations"),
    (("profile", TASK, "--method", "magic"), "method"),
    (("profile", TASK, "--solver", "magic"), "solver"),
    (("profile", TASK, "--solver", ""), "solver"),
    (("profile", "mbb_beam_99999999x99999999_0.5"), "cells|memory|large"),
    (("report", "/no/such/folder"), "/no/such/folder|run"),
    (("report", "/dev/null"), "/dev/null|run"),
    (("report", ""), "DIR|folder|run"),
):
    t.refuse(f"{' '.join(map(repr, arguments))}"[:90], says, lambda a=arguments: call(*a))

for arguments, says in (
    (("study",), "out|required"),
    (("study", "--tasks", TASK, "--out", ""), "out|folder"),
    (("study", "--tasks", TASK, "--out", "/proc/nope"), "out|/proc"),
    (("study", "--tasks", TASK, "--out", "/dev/null"), "out|/dev/null"),
    (("study", "--tasks", "nope_*", "--out", "/tmp/attack-of-nothing"), "pattern|task"),
    (("study", "--tasks", TASK, "--methods", "magic", "--out", "/tmp/attack-of-nothing"), "method"),
    (("study", "--tasks", TASK, "--seeds", "4-0", "--out", "/tmp/attack-of-nothing"), "seeds"),
    (("study", "--tasks", TASK, "--seeds", "0-99999999999", "--out", "/tmp/attack-of-nothing"), "seeds"),
    (("study", "--tasks", TASK, "--starts", "warm", "--out", "/tmp/attack-of-nothing"), "starts"),
    (("study", "--tasks", TASK, "--evaluations", "0", "--out", "/tmp/attack-of-nothing"), "evaluations"),
    (("study", "--tasks", TASK, "--jobs", "0", "--out", "/tmp/attack-of-nothing"), "jobs"),
    (("study", "--tasks", TASK, "--ranks", "-1", "--out", "/tmp/attack-of-nothing"), "ranks"),
    (("study", "--tasks", TASK, "--threads", "0", "--out", "/tmp/attack-of-nothing"), "threads"),
):
    t.refuse(f"{' '.join(map(repr, arguments))}"[:90], says, lambda a=arguments: call(*a), ranks=(1,))
t.refuse("study under mpirun", "mpirun|ranks", lambda: call("study", "--out", folder()), ranks=(2, 3))
t.refuse("report of a folder without records", "run", lambda: call("report", folder()))
t.refuse(
    "run another task on one rank",
    "task|rank|argument",
    lambda: run(task=TASK if comm.rank else "mbb_beam_8x6_0.5"),
    ranks=(2, 3),
)
t.refuse(
    "run with an unknown task on one rank",
    "task|rank",
    lambda: run(task=TASK if comm.rank else "nope"),
    ranks=(2, 3),
)
t.refuse(
    "run another budget on one rank",
    "evaluations|rank|argument",
    lambda: run(evaluations=3 + comm.rank),
    ranks=(2, 3),
)
t.refuse(
    "run an unknown option on one rank",
    "bogus|rank|argument",
    lambda: run(*() if comm.rank else ("--bogus",)),
    ranks=(2, 3),
)


def on_a_file():
    path = folder() / "taken"
    on_root(lambda: path.write_text("mine"))
    try:
        run("--out", path)
    finally:
        right(path.read_text() == "mine", "the file is gone")


t.refuse("--out on a file", "out|taken", on_a_file)


def on_full_disk(size, *more):
    with full_disk(size):
        run("--out", folder() / "out", *more)


t.refuse("--out on a disk that is full at the start", "written|large|disk|space|out", lambda: on_full_disk(0))
t.refuse("--out on a disk that fills up", "written|large|disk|space|out", lambda: on_full_disk(3000))
t.refuse(
    "--out on a disk that fills up at the pictures",
    "written|large|disk|space|out",
    lambda: on_full_disk(9000),
)
t.refuse(
    "--out of multi-start on a full disk",
    "written|large|disk|space|out",
    lambda: on_full_disk(2000, "--method", "pixel-multistart", "--evaluations", "150"),
    seconds=40.0,
)


def damaged_checkpoint():
    out = folder()
    run("--out", out)
    on_root(lambda: [path.unlink() for path in out.iterdir()])
    on_root(lambda: (out / "checkpoint-oc-0-uniform-3.npz").write_text("nonsense"))
    run("--out", out)


t.either("a checkpoint in --out that is text", "checkpoint", damaged_checkpoint)


def of_others():
    """A finished run leaves alone what is not its own."""
    out = folder()
    names = ["checkpoint-mma-0-uniform-3.npz", "checkpoint-of-mine.txt", "notes.txt", "result.json.mine"]
    on_root(lambda: [(out / name).write_text("mine") for name in names])
    run("--out", out)
    left = [name for name in names if (out / name).exists()]
    right(left == names, f"left are {left}")


t.accept("a finished run deletes only its own checkpoint", of_others)
