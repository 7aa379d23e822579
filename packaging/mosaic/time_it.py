"""Time a forward solve and a vector-Jacobian product at Mosaic's sizes: timings.json.

    ./with-fenicsx python3 packaging/mosaic/time_it.py

Every call gets another density, and a product is value and gradient from nothing. Making mesh and forms is
timed apart.
"""

import json
import time
from pathlib import Path

import numpy as np
from hex_compliance import HexCompliance, cantilever

from dolfinx_neural_topo.cli.versions import versions

SIZES, REPEATS = (4, 6, 8, 12, 16, 32, 64, 128), 5


def seconds(action):
    """Return the median over some calls, each with another density."""
    taken = []
    for seed in range(REPEATS):
        start = time.perf_counter()
        action(seed)
        taken.append(time.perf_counter() - start)
    return float(f"{np.median(taken):.4g}")


rows = []
for nx in SIZES:
    start = time.perf_counter()
    solver = HexCompliance(*cantilever(nx))
    made = time.perf_counter() - start
    cells = nx * 2 * max(1, nx // 2)

    def random(seed, cells=cells):
        return np.clip(np.random.default_rng(seed).normal(0.5, 0.3, cells), 0.05, 0.95)

    solver.value(random(99))  # what is made on the first solve
    row = {"nx": nx, "cells": cells, "unknowns": 3 * (nx + 1) * 3 * (max(1, nx // 2) + 1)}
    row["set-up, s"] = float(f"{made:.4g}")
    row["forward, s"] = seconds(lambda seed, s=solver, r=random: s.value(r(seed)))
    row["vjp, s"] = seconds(lambda seed, s=solver, r=random: s.value_and_gradient(r(10 + seed)))
    rows.append(row)
    print(row, flush=True)
    solver.destroy()
known = {name: text for name, text in versions().items() if name != "blas"}
known["blas core type"] = versions()["blas"].rpartition(" ")[2]
text = json.dumps({"versions": known, "rows": rows}, indent=1)
(Path(__file__).parent / "timings.json").write_text(text + "\n")
