# %% [markdown]
# # Algebraic multigrid on an unstructured mesh, over a whole optimization
#
# A cantilever of about 200,000 tetrahedra with shaken nodes, designed by optimality criteria:
# the preset "amg" has to converge at every iteration, from the uniform start to a nearly black-and-white
# design at a contrast of 1e9. Then all designs are evaluated again with looser solves: iterations of an
# evaluation, and the error of its gradient. Writes `tetrahedra.json` in `demos/results/`, or with several
# load cases `tetrahedra_LOADS.json`.
#
#     ./with-fenicsx python3 demos/benchmark_tetrahedra.py [CELLS ALONG THE SHORT SIDES] [ITERATIONS] [LOADS]

# %%
import json
import sys
import time
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

from dolfinx_neural_topo._communication import sum_replicated
from dolfinx_neural_topo.density import ConeFilter, Design, DesignDomain
from dolfinx_neural_topo.optimize import OC, minimize
from dolfinx_neural_topo.physics import Compliance, StateProblem, elasticity, simp
from dolfinx_neural_topo.study import provenance

comm = MPI.COMM_WORLD
defaults = ("23", "30", "1")
short, iterations, loads = (int(v) for v in [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]])
RTOLS = (1e-8, 1e-5, 1e-3, 1e-2)
shape = (round(2.78 * short), short, short)

# %% [markdown]
# Inner nodes move by up to a fifth of a cell, so that no two tetrahedra are alike.

# %%
domain = mesh.create_box(comm, [np.zeros(3), np.array(shape, dtype=float)], shape, mesh.CellType.tetrahedron)
x = domain.geometry.x
inside = np.all((x > 0.5) & (x < np.array(shape) - 0.5), axis=1)
waves = np.sin(x @ np.array([[12.9898, 78.233, 37.719], [39.346, 11.135, 83.155], [73.156, 52.235, 9.151]]))
x[inside] += 0.2 * waves[inside]

V = fem.functionspace(domain, ("Lagrange", 1, (3,)))
rho = fem.Function(fem.functionspace(domain, ("DG", 0)))
clamped = fem.dirichletbc(np.zeros(3), fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0)), V)
end = mesh.locate_entities_boundary(domain, 2, lambda x: np.isclose(x[0], shape[0]) & (x[1] < 2.01))
ds = ufl.Measure("ds", domain, subdomain_data=mesh.meshtags(domain, 2, np.sort(end), 1))
forces = [(0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)][:loads]
L = [ufl.inner(fem.Constant(domain, force), ufl.TestFunction(V)) * ds(1) for force in forces]
a = elasticity.bilinear_form(V, simp(rho), 0.3)

# %%
counts, seconds, designs = [], [], []
begin = time.perf_counter()
with StateProblem((a, L), rho, bcs=[clamped], petsc_options_prefix="tetrahedra_", solver="amg") as state:
    design_domain = DesignDomain(rho, volume_fraction=0.15)
    design = Design(Compliance(state), design_domain, filter=ConeFilter(design_domain, 1.5))

    def note(step):
        counts.append(state.iterations)
        seconds.append(round(time.perf_counter() - begin, 1))
        designs.append(step.evaluation.rho.copy())
        if comm.rank == 0:
            print(f"{step.number:3d}  {step.evaluation.value:12.6g}  {counts[-1]:4d} iterations", flush=True)

    def again(rtol):
        """Evaluate all designs with solves that end at rtol; iterations of an evaluation, and gradients."""
        state.rtol, total, gradients = rtol, 0, []
        for rho_before in designs:
            gradients.append(design.functional.value_and_gradient(rho_before)[1])
            total += state.iterations
        return total / len(designs), gradients

    result = minimize(design, OC(), evaluations=iterations, callbacks=[note], progress=False)
    looser = {}
    for rtol in RTOLS:
        per_evaluation, gradients = again(rtol)
        if rtol == RTOLS[0]:
            exact = gradients
        squares = [
            sum_replicated(comm, [(g - e) @ (g - e), e @ e]) for g, e in zip(gradients, exact, strict=True)
        ]
        looser[f"{rtol:g}"] = {
            "iterations of an evaluation": round(per_evaluation, 1),
            "largest relative error of a gradient": float(f"{max(d / e for d, e in squares) ** 0.5:.2g}"),
        }
    record = {
        "cells": domain.topology.index_map(3).size_global,
        "dofs": 3 * V.dofmap.index_map.size_global,
        "run_on": provenance.describe(comm),
        "iterations": counts,
        "load cases": loads,
        "looser": looser,
        "set_ups": state.num_factorizations,
        "seconds": seconds,
        "compliance": [float(f"{c:.6g}") for c in result.history.objective],
    }

# %%
assert len(counts) == iterations and max(counts) < 1000 * loads
assert result.history.objective[-1] < 0.5 * result.history.objective[0]
if comm.rank == 0:
    print(json.dumps(record))
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    name = "tetrahedra.json" if loads == 1 else f"tetrahedra_{loads}.json"
    (folder / name).write_text(json.dumps(record, indent=1) + "\n")
