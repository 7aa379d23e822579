# %% [markdown]
# # Large displacements: a cantilever that bends by a seventh of its length
#
# For small strains a cantilever $\Omega = (0, 4) \times (0, 1)$ with a load at the middle of its end has a
# symmetric best design: pulled or pressed, a member is the same. A load that bends it far turns the members,
# stretches the upper ones and presses the lower ones out of their way. With displacement $u$ and neo-Hookean
# energy $\psi$ in plane strain,
#
# $$\min_\rho\; J = \int_{\Gamma_t} t\cdot u\,ds, \qquad
#   \frac{d}{d\epsilon}\int_\Omega E(\rho)\,\psi(\nabla u + \epsilon \nabla v)\,dx\Big|_{\epsilon=0}
#   = \int_{\Gamma_t} t\cdot v\,ds \quad \forall v, \qquad \frac{1}{|\Omega|}\int_\Omega\rho\,dx = \tfrac12$$
#
# Void cells would turn inside out: $\gamma(\rho)$ fades the nonlinear energy to the linear one there (Wang,
# Lazarov, Sigmund, Jensen 2014). A network first designs for small strains, then goes on with the
# large-strain analysis while the load grows in steps. Both designs are judged at large strains.
#
#     ./with-fenicsx python3 demos/demo_hyperelastic.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_hyperelastic.py

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
from dolfinx_neural_topo.physics import elasticity, hyperelasticity

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 40 if FULL else 20  # cells along the height
EVALUATIONS = 150 if FULL else 40
VOLUME_FRACTION = 0.5
LOAD = 1.5e-3  # force downwards for Young's modulus 1

# %% [markdown]
# ## The physics, for small strains and for large ones

# %%
mesh = dmesh.create_rectangle(comm, [(0, 0), (4, 1)], (4 * N, N), dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
v = ufl.TestFunction(V)
force = fem.Constant(mesh, LOAD)  # load steps change its value
SPOT = 0.1  # half height of the loaded part of the end

end = dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 4) & (abs(x[1] - 0.5) < SPOT + 1e-9))
tags = dmesh.meshtags(mesh, 1, np.sort(end), np.full(len(end), 1, dtype=np.int32))
ds_end = ufl.Measure("ds", domain=mesh, subdomain_data=tags)(1)
traction = force / (2 * SPOT) * ufl.as_vector((0.0, -1.0))
L = ufl.dot(traction, v) * ds_end
wall = dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 0.0))
bcs = [fem.dirichletbc(np.zeros(2), fem.locate_dofs_topological(V, 1, wall), V)]

E = dnt.simp(rho, penalty=3.0, E_min=1e-5)
small = elasticity.bilinear_form(V, E, nu=0.3, model="plane_strain")
u = fem.Function(V, name="displacement")
gamma = hyperelasticity.solid_share(rho)
F = hyperelasticity.residual(u, E, nu=0.3, gamma=gamma) - L
states = {
    "small strains": dnt.StateProblem((small, L), rho, bcs=bcs, petsc_options_prefix="small_"),
    "large strains": dnt.StateProblem(
        F,
        rho,
        u=u,
        bcs=bcs,
        petsc_options_prefix="large_",
        petsc_options={"snes_linesearch_type": "basic"},  # whole Newton steps
    ),
}
work = {
    name: dnt.ReducedFunctional(ufl.dot(traction, state.u) * ds_end, state, name=f"work, {name}")
    for name, state in states.items()
}
force.value = 0.05 * LOAD  # the random density of the test is far softer than a design
orders = dnt.taylor_test(work["large strains"])

# %% [markdown]
# ## The same network, first for one analysis, then for the other


# %%
def near_load(x):
    return (x[0] > 4 - 2 * SPOT) & (abs(x[1] - 0.5) < SPOT)


domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=near_load)
cone = dnt.ConeFilter(domain, radius=2.0 / N)
grid = dnt.CellGrid(mesh, (N, 4 * N))
network = dnt.LeanCNN(grid.shape, seed=0)
load_steps = {
    "small strains": [(0, LOAD)],
    "large strains": [(0, 0.5 * LOAD), (EVALUATIONS // 4, 0.75 * LOAD), (EVALUATIONS // 2, LOAD)],
}
results = {}
for name, functional in work.items():
    variables = dnt.NeuralDesign(
        dnt.Design(functional, domain, filter=cone), network, dnt.PixelTransfer(grid)
    )
    steps = dnt.Continuation(force, load_steps[name])
    results[name] = dnt.minimize(variables, dnt.LBFGS(), evaluations=EVALUATIONS, continuation=steps)
    variables.evaluate(results[name].x, gradient=False)  # the network holds its best weights for the next run
    if comm.rank == 0:
        print(f"{name:<14} {results[name]}", flush=True)

# %% [markdown]
# ## Both judged by the large-strain analysis, in load steps

# %%
fields, judged = {}, {}
for name, result in results.items():
    fields[name] = dnt.io.as_function(result.rho, rho, name=name.replace(" ", "_"))
    for share in np.linspace(0.1, 1.0, 10):
        force.value = share * LOAD
        judged[name] = work["large strains"].value(result.rho)
    dnt.plotting.plot_displacement(
        output / f"hyperelastic_{name.replace(' ', '_')}.png",
        u,
        density=fields[name],
        scale=1.0,
        title=f"designed for {name}: the end moves by {judged[name] / LOAD:.4f}",
    )
shown = {f"for {name}: {judged[name] / LOAD:.4f}": field for name, field in fields.items()}
dnt.plotting.plot_designs(output / "hyperelastic.png", shown, columns=2)
dnt.io.write_paraview(output / "hyperelastic.xdmf", *fields.values(), u)

# %% [markdown]
# ## The numbers this demo stands for

# %%
numbers = {"Taylor order": (orders.min(), *above(1.9))}
for name, result in results.items():
    numbers[f"{name}, volume"] = result.volume, *near(VOLUME_FRACTION, 2e-4)
    numbers[f"{name}, end moves by"] = judged[name] / LOAD, *above(0.0)
numbers["large / small strains"] = judged["large strains"] / judged["small strains"], *below(1.0)
for state in states.values():
    state.destroy()
expect(comm, numbers)
