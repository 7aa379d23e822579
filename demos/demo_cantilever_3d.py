# %% [markdown]
# # A cantilever in three dimensions, for the printer
#
# A box $\Omega = (0, 2) \times (-\tfrac12, \tfrac12) \times (0, 1)$ is clamped at $x = 0$ and pulled down
# along the lower edge of its free end $\Gamma_t$. With 12 % of the box as material,
#
# $$\min_\rho\; c = \int_{\Gamma_t} t\cdot u\,ds, \qquad
#   \int_\Omega \sigma(u):\varepsilon(v)\,dx = \int_{\Gamma_t} t\cdot v\,ds \quad \forall v, \qquad
#   E(\rho) = E_{\min} + \rho^3 (1 - E_{\min}), \quad \nu = 0.3$$
#
# The structure is symmetric about $y = 0$, so only the half $y > 0$ is meshed, by hexahedra: `SymmetryPlane`
# makes the filter see the mirror image and counts the compliance of both halves. A three-dimensional
# convolutional network is compared with optimality criteria. The result is an STL file whose walls are
# closed.
#
#     ./with-fenicsx python3 demos/demo_cantilever_3d.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_cantilever_3d.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 32 if FULL else 16  # cells along the height
EVALUATIONS = 150 if FULL else 36
VOLUME_FRACTION = 0.12

# %% [markdown]
# ## The physics

# %%
NX, NY, NZ = 2 * N, N // 2, N
mesh = dmesh.create_box(comm, [(0, 0, 0), (2.0, 0.5, 1.0)], [NX, NY, NZ], dmesh.CellType.hexahedron)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))

penalty = fem.Constant(mesh, 3.0)
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=penalty), nu=0.3)

tip = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[0], 2.0) & (x[2] < 1.001 / N))
tags = dmesh.meshtags(mesh, 2, np.sort(tip), np.full(len(tip), 1, dtype=np.int32))
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)
traction = fem.Constant(mesh, (0.0, 0.0, -float(N)))  # a total force of 1 over both halves
L = ufl.dot(traction, ufl.TestFunction(V)) * ds(1)

wall = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[0], 0.0))
clamp = fem.dirichletbc(np.zeros(3), fem.locate_dofs_topological(V, 2, wall), V)
middle = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[1], 0.0))
sideways = fem.locate_dofs_topological(V.sub(1), 2, middle)
symmetry = fem.dirichletbc(0.0, sideways, V.sub(1))

state = dnt.StateProblem((a, L), rho, bcs=[clamp, symmetry], petsc_options_prefix="cantilever_")
state.u.name = "displacement"
compliance = dnt.Compliance(state)

# %% [markdown]
# ## The design, by a network and by optimality criteria
#
# The penalty grows from 2 to 3 on the way.

# %%
plane = dnt.SymmetryPlane(point=(0, 0, 0), normal=(0, 1, 0))
domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, symmetry=[plane])
design = dnt.Design(compliance, domain, filter=dnt.ConeFilter(domain, radius=2.0 / N))
grid = dnt.CellGrid(mesh, (NZ, NY, NX))
network = dnt.LeanCNN(grid.shape, kernel=3, seed=0)

methods = {
    "network": (dnt.NeuralDesign(design, network, dnt.PixelTransfer(grid)), dnt.LBFGS()),
    "optimality criteria": (design, dnt.OC()),
}
results = {}
for name, (variables, method) in methods.items():
    stages = dnt.Continuation(penalty, [(0, 2.0), (EVALUATIONS // 3, 3.0)])
    results[name] = dnt.minimize(variables, method, evaluations=EVALUATIONS, continuation=stages)
    if comm.rank == 0:
        print(f"{name:<20} {results[name]}", flush=True)

# %% [markdown]
# ## Pictures and files
#
# The surface is that of the whole part: both halves are joined at the plane of symmetry.

# %%
best = results["network"]
whole = [(1, 0.0)]
density = dnt.io.as_function(best.rho, rho)
surface = dnt.io.write_stl(output / "cantilever_3d.stl", density, mirror=whole)
for name, result in results.items():
    dnt.plotting.plot_solid(
        output / f"cantilever_3d_{name.replace(' ', '_')}.png",
        dnt.io.as_function(result.rho, rho),
        mirror=whole,
        title=f"{name}: compliance {result.objective:.2f}",
    )
state.solve(best.rho)
stress = elasticity.von_mises(elasticity.stress(state.u, 1.0, nu=0.3))
von_mises = dnt.io.cell_mean(stress, mesh, name="von_mises")
dnt.plotting.plot_field(
    output / "cantilever_3d_von_mises.png", von_mises, density=density, displacement=state.u
)
dnt.io.write_paraview(output / "cantilever_3d.xdmf", density, state.u, von_mises)

# %% [markdown]
# ## The numbers this demo stands for

# %%
uniform = compliance.value(design.rho_from_design(domain.expand(design.initial()))) * domain.num_copies
numbers = {}
for name, result in results.items():
    numbers[f"{name}, volume"] = result.volume, *near(VOLUME_FRACTION, 8e-4)
    numbers[f"{name} / uniform"] = result.objective / uniform, *below(0.1)
solid = comm.allreduce(float(domain.cell_volumes[best.rho > 0.5].sum())) * domain.num_copies
assert surface is None or surface.is_watertight
state.destroy()
expect(
    comm,
    numbers
    | {
        "network / OC": (best.objective / results["optimality criteria"].objective, *below(1.0)),
        "volume of the STL / dense cells": (surface.volume / solid if surface else 1.0, *near(1.0, 0.2)),
    },
)
