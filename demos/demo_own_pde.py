# %% [markdown]
# # Your own PDE on your own mesh: a heat sink
#
# A round plate $\Omega$ is heated uniformly and cooled along an arc $\Gamma$ of its rim. Where should 40 % of
# it be made of metal, so that its mean temperature is lowest?
#
# $$\min_\rho\; J = \frac{1}{|\Omega|}\int_\Omega T\,dx, \qquad
#   \int_\Omega k(\rho)\,\nabla T\cdot\nabla v\,dx = \int_\Omega v\,dx \quad \forall v,$$
# $$T = 0 \text{ on } \Gamma, \qquad k(\rho) = 10^{-3} + \rho^3 (1 - 10^{-3})$$
#
# Nothing here is built in: the mesh comes from gmsh (`meshes/heat_sink.py`), the equation and the objective
# are your UFL, and the gradient is derived from them. Put in your own.
#
#     ./with-fenicsx python3 demos/demo_own_pde.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_own_pde.py

# %%
import sys
from pathlib import Path

import ufl
from dolfinx import fem
from expected import above, below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt

comm = MPI.COMM_WORLD
here = Path(__file__).parent
output = here / "output"
FULL = "--full" in sys.argv  # a run to convergence
EVALUATIONS = 400 if FULL else 60

# %% [markdown]
# ## The problem: about 25 lines
#
# Mesh and named groups, then the state equation $(a, L)$, the objective $J$ and the design chain.

# %%
tagged = dnt.io.read_mesh(here.parent / "meshes" / "heat_sink.msh", comm)
mesh = tagged.mesh
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1))

T_trial, v = ufl.TrialFunction(V), ufl.TestFunction(V)
k = dnt.simp(rho, penalty=3.0, E_min=1e-3)
a = k * ufl.dot(ufl.grad(T_trial), ufl.grad(v)) * ufl.dx
L = v * ufl.dx
cold = fem.locate_dofs_topological(V, 1, tagged.facets("sink"))
bcs = [fem.dirichletbc(0.0, cold, V)]

state = dnt.StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="heat_")
T = state.u
T.name = "temperature"
area = comm.allreduce(fem.assemble_scalar(fem.form(1.0 * ufl.dx(mesh))))
mean_temperature = dnt.ReducedFunctional(T / area * ufl.dx, state, name="mean temperature")

domain = dnt.DesignDomain(rho, volume_fraction=0.4)
projection = dnt.HeavisideProjection(beta=1.0)
design = dnt.Design(
    mean_temperature, domain, filter=dnt.ConeFilter(domain, radius=0.07), projection=projection
)

# %% [markdown]
# ## First of all: is the gradient right?
#
# The remainder of the linearization must vanish with the square of the step: order 2.

# %%
orders = dnt.taylor_test(mean_temperature)

# %% [markdown]
# ## Design it twice: by a network of the coordinates, and by optimality criteria
#
# The network maps a point to a logit and knows no mesh; on several ranks each evaluates it on its own cells.
# A projection that sharpens in three stages makes the filtered density black and white.

# %%
network = dnt.FourierMLP(dim=2, length_scale=0.25, seed=0)
methods = {
    "coordinate network": (dnt.NeuralDesign(design, network), dnt.LBFGS()),
    "optimality criteria": (design, dnt.OC()),
}
runs = {}
for name, (variables, method) in methods.items():
    sharpen = dnt.Continuation(
        projection, [(0, 1.0), (EVALUATIONS // 3, 4.0), (2 * EVALUATIONS // 3, 12.0)], attribute="beta"
    )
    runs[name] = dnt.minimize(variables, method, evaluations=EVALUATIONS, continuation=sharpen)
uniform = runs["optimality criteria"].history.objective[0]
for name, result in runs.items():
    if comm.rank == 0:
        print(f"{name:<20} {result.objective:8.4f}  (uniform: {uniform:.4f})  volume {result.volume:.5f}")

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in runs.items()}
shown = {f"{name}: {runs[name].objective:.3f}": field for name, field in fields.items()}
dnt.plotting.plot_designs(output / "own_pde.png", shown)
dnt.plotting.plot_convergence(
    output / "own_pde_convergence.png",
    {name: result.history.objective for name, result in runs.items()},
    ylabel="mean temperature",
    comm=comm,
)
state.solve(runs["coordinate network"].rho)
dnt.plotting.plot_field(output / "own_pde_temperature.png", T)
dnt.io.write_paraview(output / "own_pde.xdmf", *fields.values(), T)

# %% [markdown]
# ## The numbers this demo stands for

# %%
numbers = {"Taylor order": (orders.min(), *above(1.9))}
for name, result in runs.items():
    numbers[f"{name}, volume"] = result.volume, *near(0.4, 2e-4)
    numbers[f"{name} / uniform"] = result.objective / uniform, *below(0.25)
state.destroy()
expect(comm, numbers)
