"""The control without a network: one coarse run of MMA from the uniform density, and the same last stage.

./with-fenicsx python3 demos/results/built/uniform.py [TASK ...]    # all 62 small tasks: five minutes

Writes `uniform.jsonl` beside it, a line a task, and goes on where it was stopped. In 3D multi-start with
`last_stage=True` has such designs among its candidates.
"""

import json
import sys
from pathlib import Path

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.optimize.multistart import Round, Schedule, Starts
from dolfinx_neural_topo.optimize.multistart.schedule import UNFINISHED
from dolfinx_neural_topo.study.independent import compliance
from dolfinx_neural_topo.tasks import PAPER_TASKS, get_task
from dolfinx_neural_topo.tasks.build import build
from dolfinx_neural_topo.tasks.coarse import meshes, problem

RAMP = ((0, 1 / 2), (20, 2 / 3), (40, 5 / 6), (60, 1.0))
UNIFORM = Starts(1, level=1, evaluations=80, ramp=RAMP)
SCHEDULE = Schedule(starts=(UNIFORM,), repair_level=1, rounds=(Round(1, level=0, evaluations=UNFINISHED),))
SMALL = [name for name in PAPER_TASKS if get_task(name).num_cells < 2**15]


def control(name):
    """Return the record of one task."""
    task = get_task(name)
    with build(task) as built:
        found = dnt.minimize_multistart(
            built.design, problem(task), meshes=meshes(task), schedule=SCHEDULE, parameterization="uniform"
        )
        part = dnt.make_buildable(built.design, found)
        rho = built.grid.to_image(part.rho)
    return {
        "task": name,
        "compliance": compliance(task, rho),
        "components": part.components,
        "pieces_carry_loads": part.pieces_carry_loads,
        "equivalent_evaluations": found.equivalent_evaluations + part.evaluations,
    }


path = Path(__file__).parent / "uniform.jsonl"
done = {json.loads(line)["task"] for line in path.read_text().splitlines()} if path.exists() else set()
with path.open("a") as file:
    for name in sys.argv[1:] or SMALL:
        if name not in done:
            file.write(json.dumps(control(name)) + "\n")
            file.flush()
