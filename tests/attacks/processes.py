"""Processes: signals, two at a time, and what starts them. On one rank, as they start their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from attacks.case import Raw, Topic, Wrong, right
from attacks.command_line import TASK, judged
from attacks.world import folder
from dolfinx_neural_topo import errors

t = Topic("command line")
LAUNCHER = ("OMPI_COMM", "PMIX", "PRTE", "PMI_")


def process(*arguments, ranks=1, code=None, **options) -> subprocess.Popen:
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}
    start = [sys.executable, "-c", code] if code else [sys.executable, "-m", "dolfinx_neural_topo"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([*launch, *start, *map(str, arguments)], **pipes, **options)


def interrupted(number, *arguments, ranks=1, after=4.0, expected=None):
    """Send a signal to a long run; it ends soon, says so, and its status tells it from bad input."""
    out = folder()
    child = process("run", "mbb_beam_96x32_0.5", "--out", out, *arguments, ranks=ranks)
    time.sleep(after)
    child.send_signal(number)
    try:
        _, told = child.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        child.kill()
        raise Wrong("the run does not end") from None
    if "Traceback" in told:
        raise Raw(told[-300:])
    right(
        child.returncode not in (0, 2), f"exit status {child.returncode}: not told from success or bad input"
    )
    if ranks > 1:  # mpirun ends the ranks itself, and what they say is lost
        return out
    right(re.search("signal|nterrupt|SIG", told), f"nothing is said: {told[-200:]!r}")
    return out


LONG = ("--method", "oc", "--evaluations", "100000")
ONE = {"ranks": (1,), "seconds": 60.0}
t.accept("SIGINT during a run", lambda: interrupted(signal.SIGINT, *LONG), **ONE)
t.accept("SIGTERM during a run", lambda: interrupted(signal.SIGTERM, *LONG), **ONE)
t.accept("SIGINT while the program starts", lambda: interrupted(signal.SIGINT, *LONG, after=0.7), **ONE)
t.accept("SIGINT while it loads", lambda: interrupted(signal.SIGINT, *LONG, after=0.25), **ONE)
t.accept(
    "SIGTERM in multi-start",
    lambda: interrupted(signal.SIGTERM, "--method", "pixel-multistart", "--evaluations", "5000"),
    **ONE,
)
t.accept(
    "SIGINT in multi-start",
    lambda: interrupted(signal.SIGINT, "--method", "pixel-multistart", "--evaluations", "5000"),
    **ONE,
)
t.accept("SIGTERM in a profile", lambda: interrupted_profile(signal.SIGINT), **ONE)


def interrupted_profile(number):
    child = process("profile", "mbb_beam_96x32_0.5", "--evaluations", "100000")
    time.sleep(4.0)
    child.send_signal(number)
    _, told = child.communicate(timeout=20)
    if "Traceback" in told:
        raise Raw(told[-300:])
    right(child.returncode not in (0, 2), f"exit status {child.returncode}")


def two_at_a_time():
    """Two runs on one --out: the second is refused, the first ends well."""
    out = folder()
    run = ("run", "mbb_beam_96x32_0.5", "--out", out, "--method", "oc", "--evaluations", "5000")
    first = process(*run)
    while not (out / "lock").exists() or not (out / "lock").stat().st_size:  # says who holds it
        right(first.poll() is None, "the first run ended")
        time.sleep(0.1)
    second = process(*run)
    _, told = second.communicate(timeout=40)
    first.kill()
    first.wait()
    if "Traceback" in told:
        raise Raw(told[-300:])
    right(second.returncode != 0, "two runs write into one folder")
    raise errors.InputError(told.strip())


t.refuse("two runs on one --out", "another|lock|process", two_at_a_time, **ONE)


def sleepers(out: Path) -> list[int]:
    """Return the processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(out).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def killed_launcher():
    """SIGKILL of mpirun ends the ranks too."""
    out = folder()
    child = process("run", "mbb_beam_96x32_0.5", "--out", out, *LONG, ranks=2)
    time.sleep(6.0)
    child.kill()
    end = time.monotonic() + 15.0
    while sleepers(out) and time.monotonic() < end:
        time.sleep(0.2)
    left = sleepers(out)
    for number in left:
        os.kill(number, signal.SIGKILL)
    right(not left, f"{len(left)} processes are left")


t.accept("SIGKILL of mpirun", killed_launcher, **ONE)
t.accept("SIGINT on two ranks", lambda: interrupted(signal.SIGINT, *LONG, ranks=2, after=6.0), **ONE)


def closed_pipe():
    child = process("tasks")
    child.stdout.close()
    child.wait(timeout=20)
    told = child.stderr.read()
    if "Traceback" in told:
        raise Raw(told[-300:])


t.accept("the reader of the output is gone", closed_pipe, **ONE)


def failed_study():
    """A study whose workers cannot write files its runs as failed, and says so by its status."""
    out = folder()
    (out / "runs").write_text("in the way")
    child = process("study", "--tasks", TASK, "--methods", "oc", "--evaluations", "3", "--out", out)
    _, told = child.communicate(timeout=40)
    return judged(child.returncode, told)


t.refuse("study where the folder of runs is a file", "runs", failed_study, **ONE)


def outside():
    """`with-fenicsx` through a symlink finds its project."""
    link = folder() / "with-fenicsx"
    link.symlink_to(Path(__file__).resolve().parents[2] / "with-fenicsx")
    code = "import dolfinx_neural_topo as d; print(d.__file__)"
    found = subprocess.run(
        [link, "python3", "-c", code], capture_output=True, text=True, cwd="/", check=False
    )
    right(str(link.resolve().parent) in found.stdout, f"status {found.returncode}: {found.stderr[-200:]}")


t.accept("with-fenicsx through a symlink", outside, **ONE)


def cache(folder_of_cache, **environment):
    script = Path(__file__).resolve().parents[2] / "with-fenicsx"
    environment = {**os.environ, "DNT_SUITE": "trixie", "XDG_CACHE_HOME": str(folder_of_cache), **environment}
    told = subprocess.run(
        [script, "true"], capture_output=True, text=True, env=environment, timeout=50, check=False
    )
    lines = [line for line in told.stderr.splitlines() if line.strip()]
    if any(not line.startswith("with-fenicsx:") for line in lines):
        raise Raw(told.stderr[-300:])
    return judged(min(told.returncode, 2), told.stderr)


t.refuse(
    "with-fenicsx, a cache that cannot be made",
    "cache|write|folder|namespace",
    lambda: cache("/proc/nope"),
    **ONE,
)
