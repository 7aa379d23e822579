"""What a multi-start run shows while it goes on."""

import io
from types import SimpleNamespace

from mpi4py import MPI

from dolfinx_neural_topo.optimize.multistart.display import Display
from dolfinx_neural_topo.optimize.multistart.found import Found
from dolfinx_neural_topo.optimize.multistart.schedule import Round, Schedule, Starts

comm = MPI.COMM_WORLD
SCHEDULE = Schedule((Starts(3, 1, evaluations=4, repair=2),), 1, (Round(1, 0, 10),))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps(display, *objectives):
    for number, objective in enumerate(objectives, start=1):
        display.evaluation(SimpleNamespace(number=number, best=SimpleNamespace(objective=objective)))


def play(display):
    display.stage(0, jobs=3, groups=1)
    for found in (7.0, 5.0, 6.0):
        display.at(1)
        steps(display, *[1.0] * 6)
        display.job(found)
    display.stage(1, jobs=1, groups=1)
    display.at(0)
    steps(display, 4.5, 4.25)
    display.job(4.25)
    display.finish("Done.")


def test_a_terminal_sees_stage_starts_done_best_and_time_left():
    stream = Terminal()
    play(Display(comm, SCHEDULE, lambda level: 0.25**level, stream=stream))
    lines = stream.getvalue().split("\r\033[K")
    if comm.rank > 0:
        assert lines == [""]
        return
    assert lines[1].startswith("starts: 0 of 3 done, evaluation 1  about ") and lines[1].endswith(" left")
    assert lines[14].startswith("starts: 2 of 3 done  best so far 5  about ")
    assert lines[-2].startswith("finish: 0 of 1 done, evaluation 2  best so far 4.25  about ")
    assert lines[-1].startswith("finish: 1 of 1 done  best so far 4.25") and lines[-1].endswith("\nDone.\n")


def test_what_an_interrupted_run_has_done_counts_as_done():
    stream = Terminal()
    display = Display(comm, SCHEDULE, lambda level: 0.25**level, stream=stream)
    display.stage(0, jobs=3, groups=1)
    display.earlier([Found(k, 0, 1, objective=5.0 + k, equivalent_evaluations=1.5) for k in range(2)])
    display.at(1)
    steps(display, 1.0)
    if comm.rank == 0:
        text = stream.getvalue().split("\r\033[K")[1]
        assert text.startswith("starts: 2 of 3 done, evaluation 1  best so far 5  about ")


def test_elsewhere_nothing_is_shown_unless_asked_for():
    silent, asked = io.StringIO(), io.StringIO()
    play(Display(comm, SCHEDULE, lambda level: 1.0, stream=silent))
    play(Display(comm, SCHEDULE, lambda level: 1.0, show=True, stream=asked))
    assert silent.getvalue() == ""
    assert len(asked.getvalue().splitlines()) == (5 if comm.rank == 0 else 0)  # a line a job, and the end
