# %% [markdown]
# # An L-bracket with bolt holes: two kinds of network on an unstructured mesh
#
# A plate with a fillet is bolted through two holes $\Gamma_b$; a third hole $\Gamma_t$ carries a load. Rings
# around the holes must stay solid, and a disc must stay free for a pipe. In plane stress, with 45 % of the
# area as material,
#
# $$\min_\rho\; c = \int_{\Gamma_t} t\cdot u\,ds, \qquad
#   \int_\Omega \sigma(u):\varepsilon(v)\,dx = \int_{\Gamma_t} t\cdot v\,ds \quad \forall v, \qquad
#   u = 0 \text{ on } \Gamma_b$$
#
# The mesh of triangles comes from gmsh (`meshes/l_bracket.py`), supports, load and rings are its named
# groups. A convolutional network draws an image over the bounding box that is sampled at the cells; a
# coordinate network is evaluated at them directly.
#
#     ./with-fenicsx python3 demos/demo_l_bracket.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_l_bracket.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from expected import below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity

comm = MPI.COMM_WORLD
here = Path(__file__).parent
output = here / "output"
FULL = "--full" in sys.argv
EVALUATIONS = 300 if FULL else 50
VOLUME_FRACTION = 0.45

# %% [markdown]
# ## The physics

# %%
tagged = dnt.io.read_mesh(here.parent / "meshes" / "l_bracket.msh", comm)
mesh = tagged.mesh
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
penalty = fem.Constant(mesh, 3.0)
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=penalty), nu=0.3, model="plane_stress")
ds_load = tagged.ds("load")
perimeter = comm.allreduce(fem.assemble_scalar(fem.form(1.0 * ds_load)), op=MPI.SUM)
traction = fem.Constant(mesh, (0.0, -1.0 / perimeter))
L = ufl.dot(traction, ufl.TestFunction(V)) * ds_load
bolted = fem.locate_dofs_topological(V, 1, tagged.facets("bolts"))
bcs = [fem.dirichletbc(np.zeros(2), bolted, V)]
state = dnt.StateProblem((a, L), rho, bcs=bcs, petsc_options_prefix="bracket_")
state.u.name = "displacement"
compliance = dnt.Compliance(state)

# %% [markdown]
# ## The design: passive cells by name and by place


# %%
def pipe(x):
    return np.hypot(x[0] - 0.22, x[1] - 0.22) < 0.08


domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=tagged.owned_cells("rings"), void=pipe)
design = dnt.Design(compliance, domain, filter=dnt.ConeFilter(domain, radius=0.036))

image = dnt.SampledTransfer(domain, (64, 64))
points = dnt.PointTransfer(domain)
methods = {
    "grid network, sampled": (dnt.NeuralDesign(design, dnt.LeanCNN((64, 64), seed=0), image), dnt.LBFGS()),
    "coordinate network": (
        dnt.NeuralDesign(design, dnt.FourierMLP(2, length_scale=0.12, seed=0), points),
        dnt.LBFGS(),
    ),
    "optimality criteria": (design, dnt.OC()),
}
results = {}
for name, (variables, method) in methods.items():
    stages = dnt.Continuation(penalty, [(0, 2.0), (EVALUATIONS // 4, 3.0)])
    results[name] = dnt.minimize(variables, method, evaluations=EVALUATIONS, continuation=stages)
    if comm.rank == 0:
        print(f"{name:<22} {results[name]}", flush=True)

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in results.items()}
shown = {f"{name}: {results[name].objective:.2f}": field for name, field in fields.items()}
dnt.plotting.plot_designs(output / "l_bracket.png", shown, columns=3)
best = min(results, key=lambda name: results[name].objective)
state.solve(results[best].rho)
stress = elasticity.von_mises(elasticity.stress(state.u, 1.0, nu=0.3))
von_mises = dnt.io.cell_mean(stress, mesh, name="von_mises")
dnt.plotting.plot_field(
    output / "l_bracket_von_mises.png", von_mises, density=fields[best], displacement=state.u
)
dnt.io.write_paraview(output / "l_bracket.xdmf", *fields.values(), state.u, von_mises)

# %% [markdown]
# ## The numbers this demo stands for

# %%
uniform = compliance.value(design.rho_from_design(domain.expand(design.initial())))
numbers = {}
for name, result in results.items():
    numbers[f"{name}, volume"] = result.volume, *near(VOLUME_FRACTION, 2e-4)
    numbers[f"{name} / uniform"] = result.objective / uniform, *below(0.2)
    assert np.all(result.rho[domain.solid] == 1.0) and np.all(result.rho[domain.void] == 0.0)
state.destroy()
expect(comm, numbers)
