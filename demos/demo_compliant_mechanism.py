# %% [markdown]
# # A compliant mechanism: the force inverter
#
# Pushed to the right at the middle of its left side, an elastic part shall move its right side to the *left*,
# against a spring. No hinges: it must bend in the right places.
#
# $$\min_\rho\; J = \frac{1}{|\Gamma_o|}\int_{\Gamma_o} u_x\,ds, \qquad
#   \int_\Omega \sigma(u):\varepsilon(v)\,dx
#   + \frac{k_i}{|\Gamma_i|}\int_{\Gamma_i} u_x v_x\,ds + \frac{k_o}{|\Gamma_o|}\int_{\Gamma_o} u_x v_x\,ds
#   = \frac{1}{|\Gamma_i|}\int_{\Gamma_i} v_x\,ds \quad \forall v$$
#
# in plane stress, with 30 % of the area as material. The objective is not the work of the load: the adjoint
# problem has a right-hand side of its own, which `ReducedFunctional` derives. The upper half is modelled, the
# axis of symmetry is its lower edge; the upper left corner is held.
#
#     ./with-fenicsx python3 demos/demo_compliant_mechanism.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_compliant_mechanism.py

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
from dolfinx_neural_topo.physics import elasticity

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
H = 80 if FULL else 40  # cells along the half height
EVALUATIONS = 300 if FULL else 80
VOLUME_FRACTION = 0.3

# %% [markdown]
# ## The physics
#
# Lengths count in 1/40 of the half height, so that the springs mean the same on both meshes.

# %%
mesh = dmesh.create_rectangle(comm, [(0.0, 0.0), (80.0, 40.0)], [2 * H, H], dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
INPUT, OUTPUT = 1, 2
PORT = 2.0  # half height of the places where the force acts and the spring pulls

facets = {
    INPUT: dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 0) & (x[1] < PORT + 1e-6)),
    OUTPUT: dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 80) & (x[1] < PORT + 1e-6)),
}
indices = np.concatenate(list(facets.values()))
values = np.concatenate([np.full(len(found), tag, dtype=np.int32) for tag, found in facets.items()])
order = np.argsort(indices)
tags = dmesh.meshtags(mesh, 1, indices[order], values[order])
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)

u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
penalty = fem.Constant(mesh, 3.0)
modulus = dnt.simp(rho, penalty=penalty, E_min=1e-6)
k_in, k_out = 0.05, 0.05  # of the half
a = elasticity.bilinear_form(V, modulus, nu=0.3, model="plane_stress")
a += k_in / PORT * u[0] * v[0] * ds(INPUT) + k_out / PORT * u[0] * v[0] * ds(OUTPUT)
L = 0.5 / PORT * v[0] * ds(INPUT)


def held(component, where):
    found = dmesh.locate_entities_boundary(mesh, 1, where)
    dofs = fem.locate_dofs_topological(V.sub(component), 1, found)
    return fem.dirichletbc(0.0, dofs, V.sub(component))


def corner(x):
    return np.isclose(x[0], 0.0) & (x[1] > 40.0 - PORT - 1e-6)


bcs = [held(1, lambda x: np.isclose(x[1], 0.0)), held(0, corner), held(1, corner)]
state = dnt.StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="inverter_")
state.u.name = "displacement"
stroke = dnt.ReducedFunctional(state.u[0] / PORT * ds(OUTPUT), state, name="stroke")

# %%
orders = dnt.taylor_test(stroke)

# %% [markdown]
# ## The design
#
# The material where the force and the spring act, and at the support, is given.

# %%
ports = [(0.0, 0.0), (80.0, 0.0), (0.0, 40.0)]


def near_ports(x):
    return np.any([(abs(x[0] - px) < PORT) & (abs(x[1] - py) < PORT) for px, py in ports], axis=0)


domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=near_ports)
design = dnt.Design(stroke, domain, filter=dnt.ConeFilter(domain, radius=2.0))
grid = dnt.CellGrid(mesh, (H, 2 * H))
network = dnt.LeanCNN(grid.shape, seed=0)
methods = {
    "network": (dnt.NeuralDesign(design, network, dnt.PixelTransfer(grid)), dnt.LBFGS()),
    "MMA": (design, dnt.MMA()),
}
results = {}
for name, (variables, method) in methods.items():
    stages = dnt.Continuation(penalty, [(0, 1.5), (15, 2.0), (30, 3.0)])
    results[name] = dnt.minimize(variables, method, evaluations=EVALUATIONS, continuation=stages)
    if comm.rank == 0:
        print(f"{name:<8} {results[name]}", flush=True)

# %% [markdown]
# ## Pictures and files
#
# The second picture shows the mechanism at work: the right end moves left.

# %%
best = results["network"]
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in results.items()}
shown = {f"{name}: stroke {results[name].objective:.3f}": field for name, field in fields.items()}
dnt.plotting.plot_designs(output / "compliant_mechanism.png", shown, mirror_bottom=True)
state.solve(best.rho)
dnt.plotting.plot_displacement(
    output / "compliant_mechanism_at_work.png", state.u, density=fields["network"], title="at work"
)
dnt.io.write_paraview(output / "compliant_mechanism.xdmf", *fields.values(), state.u)

# %% [markdown]
# ## The numbers this demo stands for
#
# A uniform density lets the output go to the right with the input; the designs pull it back.

# %%
uniform = stroke.value(design.rho_from_design(domain.expand(design.initial())))
state.solve(best.rho)
push = comm.allreduce(fem.assemble_scalar(fem.form(state.u[0] / PORT * ds(INPUT))), op=MPI.SUM)
if comm.rank == 0:
    print(f"network: input moves {push:.3f}, output {best.objective:.3f}")
numbers = {"Taylor order": (orders.min(), *above(1.9)), "stroke, uniform": (uniform, *above(0.0))}
for name, result in results.items():
    numbers[f"{name}, volume"] = result.volume, *near(VOLUME_FRACTION, 3e-4)
    numbers[f"{name}, stroke"] = result.objective, *below(-1.6)
state.destroy()
expect(comm, numbers)
