"""Run a method, kill it at random moments, resume it each time; say whether it ends like an undisturbed run.

    python3 killed.py METHOD FOLDER KILLS

Each life is a forked child, so that 20 of them need no 20 imports. Prints one JSON object.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from analytic import Bars, Valley
from mpi4py import MPI

from dolfinx_neural_topo.optimize import GCMMA, LBFGS, MMA, OC, Adam, NLoptMMA, SciPyLBFGSB, SiMPL, minimize
from dolfinx_neural_topo.tasks import mbb_beam
from dolfinx_neural_topo.tasks.build import build

EVALUATIONS = 60
CASES = {
    "OC": (OC, Bars),
    "MMA": (MMA, Bars),
    "GCMMA": (GCMMA, Bars),
    "NLoptMMA": (NLoptMMA, Bars),
    "SiMPL": (SiMPL, Bars),
    "LBFGS": (LBFGS, Valley),
    "Adam": (Adam, Valley),
    "SciPyLBFGSB": (SciPyLBFGSB, Valley),
    "beam": (OC, lambda comm: build(mbb_beam(18, 6, volume_fraction=0.5), comm).design),
}


def live(case, folder, pipe):
    """Run to the end, from the checkpoint if there is one; write the result. Tell when evaluations begin."""
    method, variables = CASES[case]
    result = minimize(
        variables(comm=MPI.COMM_SELF),
        method(),
        evaluations=EVALUATIONS,
        checkpoint=folder / "run.npz",
        checkpoint_every=1,
        callbacks=[lambda step: os.write(pipe, b".") and time.sleep(0.001)],
    )
    history = np.array([result.history.objective, result.history.volume])
    np.savez(folder / "end.npz", last=result.last.x, best=result.x, rho=result.rho, history=history)
    (folder / "seconds").write_text(str(result.seconds["total"]))


def give_life(case, folder):
    """Start a life; return its process and a pipe that speaks at each evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(case, folder, pipe[1])
            os._exit(0)
        finally:
            os._exit(1)
    os.close(pipe[1])
    return child, pipe[0]


def finish(case, folder):
    child, pipe = give_life(case, folder)
    status = os.waitpid(child, 0)[1]
    os.close(pipe)
    return status == 0


def end(folder):
    with np.load(folder / "end.npz") as file:
        return {name: file[name].tobytes() for name in file.files}


def main(case, folder, kills):
    if case == "Adam":
        minimize(Valley(), Adam(), evaluations=2)  # loads torch once, not in every life
    rng = np.random.default_rng(len(case))
    assert finish(case, folder / "undisturbed")
    seconds = float((folder / "undisturbed" / "seconds").read_text()) / EVALUATIONS
    done = []
    for _ in range(kills):
        child, pipe = give_life(case, folder / "killed")
        for _ in range(rng.integers(0, 4)):  # however slow the machine is; at 0 it may die before its first
            os.read(pipe, 1)
        time.sleep(rng.uniform(0, 2 * seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pipe)
        path = folder / "killed" / "run.npz"
        if path.exists():
            with np.load(path) as file:
                done.append(len(file["history/objective"]))
    same = finish(case, folder / "killed") and end(folder / "undisturbed") == end(folder / "killed")
    print(json.dumps({"same": same, "kills": kills, "evaluations when killed": done}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
