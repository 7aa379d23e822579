"""The bracket of demos/demo_bracket_3d.py on 56,000 tetrahedra: multi-start, MMA, and the same last stage.

./with-fenicsx python3 demos/results/multistart_other/bracket.py [multistart | mma | mma-svanberg ...]

Gmsh makes the meshes in `demos/output` first. Appends a line a method to `bracket.jsonl` beside it, and goes
on where it was stopped. One process takes a quarter of an hour for each.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.optimize import MMA, NLoptMMA
from dolfinx_neural_topo.physics import elasticity
from dolfinx_neural_topo.study import provenance

comm, here = MPI.COMM_WORLD, Path(__file__).parent
root = here.parents[2]
SIZES = (0.04, 0.08, 0.16)
RADIUS, VOLUME_FRACTION, SEARCH, STAGE = 0.09, 0.25, 140, 50
PULLS = ((0.5, 0.0, 0.0), (0.0, 0.0, 0.5))  # half of a unit force on half of the bracket


def mesh_file(size):
    return root / "demos" / "output" / f"bracket_3d_{size}.msh"


def meshes(comm):
    """Return the mesh of the design and two coarser ones, with the names of their parts."""
    return [dnt.io.read_mesh(mesh_file(size), comm) for size in SIZES]


def problem(tagged):
    """Return the compliance under both loads, on any mesh."""
    mesh = tagged.mesh
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
    a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=3.0), nu=0.3)
    ds = tagged.ds("bore")
    area = mesh.comm.allreduce(fem.assemble_scalar(fem.form(1.0 * ds)), op=MPI.SUM)
    v = ufl.TestFunction(V)
    loads = [ufl.dot(fem.Constant(mesh, np.array(pull) / area), v) * ds for pull in PULLS]
    bolted = fem.locate_dofs_topological(V, 2, tagged.facets("bolt"))
    sideways = fem.locate_dofs_topological(V.sub(1), 2, tagged.facets("symmetry"))
    bcs = [fem.dirichletbc(np.zeros(3), bolted, V), fem.dirichletbc(0.0, sideways, V.sub(1))]
    state = dnt.StateProblem((a, loads), rho, bcs=bcs, petsc_options_prefix="bearing_")
    return dnt.Compliance(state, weights=[0.5, 0.5])


def record(method, tagged):
    """Return what a method and the last stage find."""
    begin = time.perf_counter()
    compliance = problem(tagged)
    plane = dnt.SymmetryPlane(point=(0, 0, 0), normal=(0, 1, 0))
    domain = dnt.DesignDomain(
        compliance.state.rho,
        volume_fraction=VOLUME_FRACTION,
        solid=tagged.owned_cells("bushes"),
        symmetry=[plane],
    )
    design = dnt.Design(compliance, domain, filter=dnt.ConeFilter(domain, radius=RADIUS))
    if method == "multistart":
        found = dnt.minimize_multistart(design, problem, meshes=meshes, budget=SEARCH, last_stage=True)
        spent = found.equivalent_evaluations
    else:
        mma = {"mma": NLoptMMA, "mma-svanberg": MMA}[method]()
        found = dnt.minimize(design, mma, evaluations=SEARCH)
        spent = found.evaluations
    built = dnt.make_buildable(design, found, evaluations=STAGE)
    compliance.state.destroy()
    return {
        "method": method,
        "grey": found.objective,
        "built": built.summary(),
        "equivalent_evaluations": spent + built.evaluations,
        "cells": domain.num_global_cells,
        "ranks": comm.size,
        "seconds": round(time.perf_counter() - begin, 1),
        "provenance": provenance.describe(comm),
    }


for size in SIZES:
    if comm.rank == 0 and not mesh_file(size).exists():
        mesh_file(size).parent.mkdir(exist_ok=True)
        code = [str(root / "meshes" / "bracket_3d.py"), "--size", str(size), "--out", str(mesh_file(size))]
        subprocess.run([sys.executable, *code], check=True)
comm.barrier()
out = here / "bracket.jsonl"
done = [json.loads(line)["method"] for line in out.read_text().splitlines()] if out.exists() else []
for method in sys.argv[1:] or ["multistart", "mma", "mma-svanberg"]:
    if method not in done:
        line = json.dumps(record(method, dnt.io.read_mesh(mesh_file(SIZES[0]), comm)))
        if comm.rank == 0:
            with out.open("a") as file:
                file.write(line + "\n")
