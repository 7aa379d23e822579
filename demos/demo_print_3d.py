# %% [markdown]
# # A part that prints without supports
#
# A bracket in the box $\Omega = (0, 2) \times (-\tfrac12, \tfrac12) \times (0, 1)$ is clamped at $x = 0$ and
# pulled down at the lower edge of its free end $\Gamma_t$. With 20 % of the box as material,
#
# $$\min_\rho\; c = \int_{\Gamma_t} t\cdot u\,ds, \qquad
#   \int_\Omega \sigma(u):\varepsilon(v)\,dx = \int_{\Gamma_t} t\cdot v\,ds \quad \forall v, \qquad
#   E(\rho) = E_{\min} + \rho^3 (1 - E_{\min}), \quad \nu = 0.3$$
#
# It is printed upwards from a plate at $z = 0$, where a layer may overhang the one below by 45 degrees at
# most: in layers of cubes, a cell needs material in the cell below or beside that,
#
# $$\rho_k = \operatorname{smin}\bigl(\tilde\rho_k,\; \operatorname{smax}_{j \in S_k} \rho_j\bigr)$$
#
# with smooth minimum and maximum (Langelaar 2016). `OverhangFilter` is this map, between filter and
# projection; its pullback goes down through the layers again. The part is designed with and without it.
# Only the half $y > 0$ is meshed.
#
#     ./with-fenicsx python3 demos/demo_print_3d.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_print_3d.py

# %%
import sys
from pathlib import Path

import matplotlib
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import above, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.density import OverhangFilter
from dolfinx_neural_topo.physics import elasticity

matplotlib.use("Agg")
import matplotlib.pyplot as plt

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 32 if FULL else 16  # cells along the height
EVALUATIONS = 120 if FULL else 48
VOLUME_FRACTION = 0.2

# %% [markdown]
# ## The physics

# %%
mesh = dmesh.create_box(comm, [(0, 0, 0), (2.0, 0.5, 1.0)], [2 * N, N // 2, N], dmesh.CellType.hexahedron)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=3.0), nu=0.3)

tip = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[0], 2.0) & (x[2] < 1.001 / N))
tags = dmesh.meshtags(mesh, 2, np.sort(tip), np.full(len(tip), 1, dtype=np.int32))
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)
L = ufl.dot(fem.Constant(mesh, (0.0, 0.0, -float(N))), ufl.TestFunction(V)) * ds(1)

wall = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[0], 0.0))
clamp = fem.dirichletbc(np.zeros(3), fem.locate_dofs_topological(V, 2, wall), V)
middle = dmesh.locate_entities_boundary(mesh, 2, lambda x: np.isclose(x[1], 0.0))
symmetry = fem.dirichletbc(0.0, fem.locate_dofs_topological(V.sub(1), 2, middle), V.sub(1))
state = dnt.StateProblem((a, L), rho, bcs=[clamp, symmetry], petsc_options_prefix="print_")

# %% [markdown]
# ## With and without the printer in mind
#
# MMA finds a grey design; the last stage makes it solid and void, and keeps what the printer asks for.

# %%
domain = dnt.DesignDomain(
    rho, volume_fraction=VOLUME_FRACTION, symmetry=[dnt.SymmetryPlane((0, 0, 0), (0, 1, 0))]
)
cone = dnt.ConeFilter(domain, radius=2.0 / N)
results = {}
for name, stages in {"free": (), "printable": (OverhangFilter(domain, (0, 0, 1)),)}.items():
    design = dnt.Design(dnt.Compliance(state), domain, filter=cone, manufacturing=stages)
    grey = dnt.minimize(design, dnt.MMA(), evaluations=EVALUATIONS // 2)
    results[name] = dnt.make_buildable(design, grey, evaluations=EVALUATIONS // 2)
    if comm.rank == 0:
        print(f"{name:<10} {results[name]}", flush=True)

# %% [markdown]
# ## What would fall
#
# A solid cell whose five supports below are all void would be printed in the air.

# %%
grid = dnt.CellGrid.find(mesh)
solid = {name: grid.to_image(result.rho) > 0.5 for name, result in results.items()}  # z, y, x


def unsupported(part):
    """Solid cells above the plate without support; beyond y = 0 lies the mirror image."""
    below = np.pad(part[:-1], ((0, 0), (1, 1), (1, 1)))
    across = below[:, 1:-1, :-2] | below[:, 1:-1, 2:] | below[:, :-2, 1:-1] | below[:, 2:, 1:-1]
    return part[1:] & ~(part[:-1] | across)


falling = {name: int(unsupported(part).sum()) for name, part in solid.items()}

# %% [markdown]
# ## Pictures and files

# %%
part = dnt.io.as_function(results["printable"].rho, rho)
whole = [(1, 0.0)]
surface = dnt.io.write_stl(output / "print_3d.stl", part, mirror=whole)
for name, result in results.items():
    title = f"{name}: compliance {result.value:.0f}, cells in the air: {falling[name]}"
    picture = output / f"print_3d_{name}.png"
    dnt.plotting.plot_solid(
        picture, dnt.io.as_function(result.rho, rho), mirror=whole, view=(1, -1.6, -0.5), title=title
    )
dnt.io.write_paraview(output / "print_3d.xdmf", part)
if comm.rank == 0:
    layers = range(0, N, N // 8)
    colours = matplotlib.colors.ListedColormap(["white", "0.35", "red"])
    figure, axes = plt.subplots(2, len(layers), figsize=(14, 3.4), layout="constrained")
    for row, (name, image) in zip(axes, solid.items(), strict=True):
        air = np.zeros_like(image)
        air[1:] = unsupported(image)
        for axis, k in zip(row, layers, strict=True):
            shown = np.vstack([image[k], image[k][::-1]]) + 1.0 * np.vstack([air[k], air[k][::-1]])
            axis.imshow(shown, cmap=colours, vmin=0, vmax=2)
            axis.set(xticks=[], yticks=[], title=f"{name}, layer {k}")
    figure.suptitle("Layers from the plate up; red: printed in the air")
    figure.savefig(output / "print_3d_slices.png", dpi=110)

# %% [markdown]
# ## The numbers this demo stands for

# %%
numbers = {f"{name}, volume": (result.volume, 0.19, 0.2 * (1.0 + 1e-6)) for name, result in results.items()}
numbers |= {f"{name}, pieces": (result.components, *near(1, 0.0)) for name, result in results.items()}
dense = 2.0 * comm.allreduce(float(domain.cell_volumes[results["printable"].rho > 0.5].sum()))
assert surface is None or surface.is_watertight
state.destroy()
expect(
    comm,
    numbers
    | {
        "cells in the air, free": (falling["free"], *above(15)),
        "cells in the air, printable": (falling["printable"], *near(0, 0.0)),
        "printable / free": (results["printable"].value / results["free"].value, 0.9, 1.4),
        "volume of the STL / dense cells": (surface.volume / dense if surface else 1.0, *near(1.0, 0.2)),
    },
)
