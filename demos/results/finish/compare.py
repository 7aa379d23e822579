"""Which method finishes the designs of multi-start fastest? From the same designs, at the same cost.

    for task in ...: dnt run $task --method neural-multistart --evaluations 140 --out starts/$task
    python3 demos/results/finish/compare.py starts demos/results/finish/records.jsonl

Each line of the records is one method from one design: the lowest objective of the allowed designs after 30,
60 and 120 evaluations, relative to the design it began with. What is in the file already is not run again.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.networks import PixelLogits
from dolfinx_neural_topo.optimize.multistart.polish import Polish
from dolfinx_neural_topo.study.job import StartingAt
from dolfinx_neural_topo.tasks import get_task
from dolfinx_neural_topo.tasks.build import build

METHODS = {
    "MMA, moves of 0.15 (the finish)": Polish,
    "MMA": dnt.MMA,
    "GCMMA, moves of 0.15": lambda: dnt.GCMMA(move=0.15, initial=1.0),
    "SiMPL": dnt.SiMPL,
    "SiMPL, margin 0.001": lambda: dnt.SiMPL(margin=1e-3),
    "OC": dnt.OC,
    "OC, over-relaxed (damping 0.8)": lambda: dnt.OC(damping=0.8),
    "L-BFGS on logits": dnt.LBFGS,
}
AT = (30, 60, 120)
MARGIN = 1e-2  # of the logits from infinity


def logits(task, image):
    """The design as logits of pixels, and where they start."""
    inside = np.clip(image, MARGIN, 1.0 - MARGIN)
    network = PixelLogits(image.shape, torch.from_numpy(np.log(inside / (1.0 - inside))))
    return dnt.NeuralDesign(task.design, network, dnt.PixelTransfer(task.grid))


def main(starts, path):
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(each["task"], each["method"]) for each in done}
    for file in sorted(starts.glob("*/density.npz")):
        name = file.parent.name
        with build(get_task(name), MPI.COMM_SELF) as task:
            image = np.load(file)["rho_design"]
            x = task.grid.to_cells(image)[task.domain.design]
            begin = task.design.evaluate(x, gradient=False).value
            for label, make in METHODS.items():
                if (name, label) in done:
                    continue
                on_logits = label.endswith("logits")
                variables = logits(task, image) if on_logits else StartingAt(task.design, x)
                result = dnt.minimize(variables, make(), evaluations=AT[-1], progress=False)
                lowest = result.history.running_minimum()
                ratios = [round(float(lowest[min(at, len(lowest)) - 1]) / begin, 6) for at in AT]
                record = {"task": name, "method": label, "objective": begin, "ratios": ratios}
                record |= {"volume": result.volume, "evaluations": len(lowest), "reason": result.reason}
                with path.open("a") as records:
                    records.write(json.dumps(record) + "\n")
                print(name, label, ratios, flush=True)


main(Path(sys.argv[1]), Path(sys.argv[2]))
