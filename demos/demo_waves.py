# %% [markdown]
# # Waves: a lens that focuses a plane wave
#
# A plane wave of length 1 comes in from the left. A slab of air and of a material in which waves are half as
# long ($n = 2$) shall send it into a narrow slit $\Gamma_s$ at the right. The scalar field
# (sound, or one polarization of light) is complex, $p = p_r + i\,p_i$; it obeys
#
# $$\nabla\cdot\nabla p + k^2 n^2(\rho)\,p = 0, \qquad n^2(\rho) = 1 + \rho\,(n_s^2 - 1), \qquad
#   \partial_n p = i k p - 2 i k\,[\text{left}] \;\text{at both ends},$$
#
# where the condition at the ends lets waves out and the incoming one in. Its real and imaginary parts are the
# two components of an ordinary real state, coupled by the boundary terms:
#
# $$\max_\rho\; T = \frac{1}{|\Gamma_{left}|}\int_{\Gamma_s} |p|^2\,ds, \qquad
#   \int_\Omega \nabla p\cdot\nabla v - k^2 n^2 p\cdot v\,dx
#   + k \int_{\Gamma} p_i v_r - p_r v_i\,ds = - 2 k \int_{\Gamma_{left}} v_i\,ds \quad \forall v.$$
#
# $T$ is the share of the incoming power that leaves through the slit. Upper and lower edge are axes of
# symmetry: half of one lens of a row is modelled. The landscape is full of local optima: both methods get
# several starts.
#
#     ./with-fenicsx python3 demos/demo_waves.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_waves.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import above, below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import random_density

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 16 if FULL else 12  # cells for a wavelength of air
EVALUATIONS = 200 if FULL else 60
STARTS = 6 if FULL else 3
LENGTH, HEIGHT, WIDTH = 4, 2, 0.25  # WIDTH of half the slit
SHAPE = (HEIGHT * N, LENGTH * N)

# %% [markdown]
# ## The physics
#
# Second-order elements, since waves add up the errors of their length.

# %%
mesh = dmesh.create_rectangle(
    comm, [(0.0, 0.0), (LENGTH, HEIGHT)], [LENGTH * N, HEIGHT * N], dmesh.CellType.quadrilateral
)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 2, (2,)))
LEFT, RIGHT, SLIT = 1, 2, 3
ends = [dmesh.locate_entities_boundary(mesh, 1, lambda x, at=at: np.isclose(x[0], at)) for at in (0, LENGTH)]
facets = np.sort(np.concatenate(ends))
x, y, _ = dmesh.compute_midpoints(mesh, 1, facets).T
values = np.where(x < 1.0, LEFT, np.where(y < WIDTH, SLIT, RIGHT)).astype(np.int32)
tags = dmesh.meshtags(mesh, 1, facets, values)
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)

k = 2.0 * np.pi
n_squared = 1.0 + rho * (2.0**2 - 1.0)
p, v = ufl.TrialFunction(V), ufl.TestFunction(V)
a = (ufl.inner(ufl.grad(p), ufl.grad(v)) - k**2 * n_squared * ufl.dot(p, v)) * ufl.dx
a += k * (p[1] * v[0] - p[0] * v[1]) * ds((LEFT, RIGHT, SLIT))
state = dnt.StateProblem((a, -2.0 * k * v[1] * ds(LEFT)), rho, petsc_options_prefix="wave_")
state.u.name = "wave"
share = dnt.ReducedFunctional(ufl.dot(state.u, state.u) / HEIGHT * ds(SLIT), state, name="transmission")
orders = dnt.taylor_test(share, step=1e-3)
empty = share.value(np.zeros(state.num_owned_cells))

# %% [markdown]
# ## The lens, from several starts
#
# A start of the network is a seed of its weights; one of the method of moving asymptotes is the uniform
# density, or random ones. The projection makes the lens of air and material alone.

# %%
air = lambda x: (x[0] < 0.75) | (x[0] > 2.25)  # noqa: E731
domain = dnt.DesignDomain(rho, volume_fraction=0.6, void=air)
cone = dnt.ConeFilter(domain, radius=0.2)


def run(method, seed):
    projection = dnt.HeavisideProjection(beta=1.0)
    design = dnt.Design(-1.0 * share, domain, filter=cone, projection=projection, volume="at most")
    sharpen = dnt.Continuation(
        projection, [(0, 1.0), (EVALUATIONS // 3, 4.0), (2 * EVALUATIONS // 3, 12.0)], attribute="beta"
    )
    variables, optimizer = design, dnt.MMA()
    if method == "network":
        variables, optimizer = dnt.NeuralDesign(design, dnt.LeanCNN(SHAPE, seed=seed)), dnt.LBFGS()
    elif seed > 0:
        start = random_density(rho.function_space, 0.3, 0.7, seed)[domain.design]
        design.initial = lambda: start
    return dnt.minimize(variables, optimizer, evaluations=EVALUATIONS, continuation=sharpen)


runs = {method: [run(method, seed) for seed in range(STARTS)] for method in ("MMA", "network")}
best = {method: min(results, key=lambda result: result.objective) for method, results in runs.items()}
for method, results in runs.items():
    if comm.rank == 0:
        shares = ", ".join(f"{-result.objective:.3f}" for result in results)
        print(f"{method:<8} transmission {shares}; without a lens {empty:.3f}", flush=True)

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
fields = {method: dnt.io.as_function(result.rho, rho, name=method) for method, result in best.items()}
shown = {f"{method}: {-best[method].objective:.1%} through the slit": fields[method] for method in best}
dnt.plotting.plot_designs(output / "waves.png", shown, mirror_bottom=True)
state.solve(best["network"].rho)
intensity = dnt.io.cell_mean(ufl.dot(state.u, state.u), mesh, name="intensity")
dnt.plotting.plot_field(output / "waves_intensity.png", intensity, title="intensity, network")
dnt.io.write_paraview(output / "waves.xdmf", *fields.values(), intensity)

# %% [markdown]
# ## The numbers this demo stands for
#
# Without a lens the slit gets what falls on it, its share of the height.

# %%
numbers = {
    "Taylor order": (orders.min(), *above(1.9)),
    "transmission without a lens": (empty, *near(WIDTH / HEIGHT, 2e-3)),
}
for method, result in best.items():
    numbers[f"{method}, transmission"] = -result.objective, *above(0.6)
    numbers[f"{method}, volume"] = result.volume, *below(0.6 + 2e-4)
state.destroy()
expect(comm, numbers)
