# %% [markdown]
# # Periodic cells: the stiffest foam, and one that thickens when pulled
#
# A material is made of small equal cells. How stiff it is from afar follows from one cell $Y$ alone: each
# unit strain $e_k$ moves it by $e_k x + \chi_k(x)$, with a fluctuation that repeats from cell to cell,
#
# $$\int_Y \bigl(\varepsilon(\chi_k) + e_k\bigr) : \mathbb{C}(\rho) : \varepsilon(v)\,dx = 0
#   \quad \forall v \text{ periodic}, \qquad
#   C_{kl} = \frac{1}{|Y|} \int_Y \bigl(e_k + \varepsilon(\chi_k)\bigr) : \mathbb{C}(\rho) :
#   \bigl(e_l + \varepsilon(\chi_l)\bigr)\,dx.$$
#
# Two designs of half a cell of material, the first with a known bound:
#
# $$\max_\rho\; K = \tfrac14 (C_{11} + C_{22} + 2 C_{12}) \le \frac{f\,K_0\,G_0}{G_0 + (1 - f)\,K_0}, \qquad
#   \min_\rho\; \nu = \frac{2\,C_{12}}{C_{11} + C_{22}}, \quad \tfrac12 (C_{11} + C_{22}) \ge 0.05\,E_0.$$
#
# The bound is that of Hashin and Shtrikman (1963) in the plane, for material of share $f$ with moduli $K_0$,
# $G_0$ and void. Negative $\nu$ were first designed by Sigmund, Materials with prescribed constitutive
# parameters: an inverse homogenization problem (1994); -1 is the least there is.
#
#     ./with-fenicsx python3 demos/demo_periodic_cell.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_periodic_cell.py

# %%
import sys
from pathlib import Path

import numpy as np
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import above, below, expect
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity, homogenization

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 64 if FULL else 32  # cells of the mesh along an edge
EVALUATIONS = 300 if FULL else 90
VOLUME_FRACTION, POISSON = 0.5, 0.3

# %% [markdown]
# ## The physics
#
# Opposite faces share their degrees of freedom; that is the word `periodic`. One factorization serves the
# three unit strains.

# %%
mesh = dmesh.create_unit_square(comm, N, N, dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
E = dnt.simp(rho, E_min=1e-4)
cell = dnt.StateProblem(
    (elasticity.bilinear_form(V, E, POISSON), homogenization.loads(V, E, POISSON)),
    rho,
    bcs=[homogenization.corners(V)],
    periodic=True,
    petsc_options_prefix="cell_",
)


def entry(k, l):
    return dnt.ReducedFunctional(
        homogenization.stiffness(cell.states, E, k, l, POISSON), cell, name=f"C{k}{l}"
    )


bulk = dnt.ReducedFunctional(homogenization.bulk_modulus(cell.states, E, POISSON), cell, name="bulk modulus")
axial = 0.5 * (entry(0, 0) + entry(1, 1))
ratio = entry(0, 1) / axial
orders = dnt.taylor_test(bulk), dnt.taylor_test(ratio)
K0, G0 = 1.0 / (2.0 * (1.0 - POISSON)), 1.0 / (2.0 * (1.0 + POISSON))
bound = VOLUME_FRACTION * K0 * G0 / (G0 + (1.0 - VOLUME_FRACTION) * K0)

# %% [markdown]
# ## Three designs
#
# Nothing tells the points of a uniform cell apart, and for $K$ it is a local optimum: with $\rho^3$, a part
# that becomes denser gains less than the contrast costs. A hole has to be there at the start. The method of
# moving asymptotes begins with a soft middle. A network begins near the uniform cell, and for $K$ stays there
# (48 % of the bound); from $\nu$ it finds its own way.

# %%
domain = dnt.DesignDomain(
    rho, volume_fraction=VOLUME_FRACTION, periodic=True
)  # filters reach into the next cell
cone = dnt.ConeFilter(domain, radius=0.08)
middle = np.linalg.norm(domain.midpoints[:, :2] - 0.5, axis=1)
start = np.where(middle < 0.25, 0.2, 0.55)[domain.design]


def run(name, objective, constraints=()):
    projection = dnt.HeavisideProjection(beta=1.0)
    design = dnt.Design(objective, domain, filter=cone, projection=projection, constraints=list(constraints))
    steps = [(0, 1.0), (EVALUATIONS // 2, 4.0), (3 * EVALUATIONS // 4, 16.0)]
    sharpen = dnt.Continuation(projection, steps, attribute="beta")
    variables, method = design, dnt.MMA()
    if name == "network":
        variables = dnt.NeuralDesign(design, dnt.LeanCNN((N, N), seed=0))
        method = dnt.AugmentedLagrangian(dnt.LBFGS()) if constraints else dnt.LBFGS()
    else:
        design.initial = lambda: start
    return dnt.minimize(variables, method, evaluations=EVALUATIONS, continuation=sharpen)


runs = {
    "stiff": run("MMA", 1.0 / bulk),
    "MMA": run("MMA", ratio, [(1.0 / axial, 1.0 / 0.05)]),
    "network": run("network", ratio, [(1.0 / axial, 1.0 / 0.05)]),
}
share = bulk.value(runs["stiff"].rho) / bound
ratios = {name: ratio.value(runs[name].rho) for name in ("MMA", "network")}
axials = {name: axial.value(runs[name].rho) for name in ratios}
for name, result in runs.items():
    if comm.rank == 0:
        print(f"{name:<8} {result}", flush=True)

# %% [markdown]
# ## Pictures, and a file for ParaView
#
# Four cells of each.

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in runs.items()}
titles = {"stiff": f"K = {share:.1%} of the bound", **{n: f"{n}: nu = {r:.2f}" for n, r in ratios.items()}}


def repeated(function):
    """Return a density of two by two cells."""
    tiles = dmesh.create_rectangle(comm, [(0.0, 0.0), (2.0, 2.0)], [2 * N, 2 * N], mesh.topology.cell_type)
    tiled = fem.Function(fem.functionspace(tiles, ("DG", 0)), name=function.name)
    x = domain.midpoints[:, :2]
    places, values = (np.concatenate(comm.allgather(a)) for a in (x, function.x.array[: len(x)]))
    picture = np.empty((N, N))
    picture[tuple((places * N).astype(int).T)] = values
    tiled.interpolate(lambda x: picture[tuple((x[:2] % 1.0 * N).astype(int))])
    return tiled


dnt.plotting.plot_designs(
    output / "periodic_cell.png", {titles[name]: repeated(fields[name]) for name in runs}, columns=3
)
ratio.value(runs["MMA"].rho)
cell.u.name = "fluctuation"
dnt.io.write_paraview(output / "periodic_cell.xdmf", *fields.values(), cell.u)

# %% [markdown]
# ## The numbers this demo stands for

# %%
numbers = {"Taylor order": (np.min(orders), *above(1.9))}
numbers["K / bound of Hashin and Shtrikman"] = share, 0.93, 1.0
for name in ratios:
    numbers[f"{name}, Poisson's ratio"] = ratios[name], *below(-0.5)
    numbers[f"{name}, mean C11 with it"] = axials[name], *above(0.05 * (1.0 - 1e-5))
for name, result in runs.items():
    numbers[f"{name}, volume"] = result.volume, *below(VOLUME_FRACTION + 1e-4)
cell.destroy()
expect(comm, numbers)
