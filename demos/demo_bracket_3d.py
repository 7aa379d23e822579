# %% [markdown]
# # A bearing bracket on tetrahedra, for two load cases
#
# Half of a bracket (`meshes/bracket_3d.py`, tetrahedra from gmsh) is bolted down through its foot $\Gamma_b$
# and carries a shaft in its bore $\Gamma_s$, which pulls once forwards and once upwards:
#
# $$\min_\rho\; c = \tfrac12 \sum_{i=1}^{2} \int_{\Gamma_s} t_i\cdot u_i\,ds, \qquad
#   \int_\Omega \sigma(u_i):\varepsilon(v)\,dx = \int_{\Gamma_s} t_i\cdot v\,ds \quad \forall v, \quad
#   u_i = 0 \text{ on } \Gamma_b, \quad u_{i,y} = 0 \text{ on } \{y = 0\}$$
#
# with a quarter of the volume as material. Both cases share the matrix and its factorization. The bushes
# around bore and bolt are solid; the filter sees the mirror image behind the plane of symmetry. A coordinate
# network knows nothing of the mesh.
#
#     ./with-fenicsx python3 demos/demo_bracket_3d.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_bracket_3d.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from expected import above, below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity

comm = MPI.COMM_WORLD
here = Path(__file__).parent
output = here / "output"
FULL = (
    "--full" in sys.argv
)  # on a finer mesh: meshes/bracket_3d.py --size 0.04 --out meshes/bracket_3d_fine.msh
MESH = "bracket_3d_fine.msh" if FULL else "bracket_3d.msh"
RADIUS = 0.09 if FULL else 0.12
EVALUATIONS = 120 if FULL else 36
VOLUME_FRACTION = 0.25

# %% [markdown]
# ## The physics

# %%
tagged = dnt.io.read_mesh(here.parent / "meshes" / MESH, comm)
mesh = tagged.mesh
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
penalty = fem.Constant(mesh, 3.0)
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=penalty), nu=0.3)
ds_bore = tagged.ds("bore")
bore_area = comm.allreduce(fem.assemble_scalar(fem.form(1.0 * ds_bore)), op=MPI.SUM)
pulls = {
    "forwards": (0.5, 0.0, 0.0),
    "upwards": (0.0, 0.0, 0.5),
}  # half of a unit force on half of the bracket
loads = [
    ufl.dot(fem.Constant(mesh, np.array(pull) / bore_area), ufl.TestFunction(V)) * ds_bore
    for pull in pulls.values()
]
bolted = fem.locate_dofs_topological(V, 2, tagged.facets("bolt"))
sideways = fem.locate_dofs_topological(V.sub(1), 2, tagged.facets("symmetry"))
bcs = [fem.dirichletbc(np.zeros(3), bolted, V), fem.dirichletbc(0.0, sideways, V.sub(1))]
state = dnt.StateProblem((a, loads), rho, bcs=bcs, petsc_options_prefix="bearing_")
state.rtol = 1e-3  # of iterative solves while the design moves; the best one is solved for again to 1e-5
for name, u in zip(pulls, state.states, strict=True):
    u.name = f"displacement_{name}"
compliance = dnt.Compliance(state, weights=[0.5, 0.5])
orders = dnt.taylor_test(compliance)

# %% [markdown]
# ## The design

# %%
plane = dnt.SymmetryPlane(point=(0, 0, 0), normal=(0, 1, 0))
bushes = tagged.owned_cells("bushes")
domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=bushes, symmetry=[plane])
design = dnt.Design(compliance, domain, filter=dnt.ConeFilter(domain, radius=RADIUS))
network = dnt.FourierMLP(3, length_scale=0.5, seed=0)
stages = dnt.Continuation(penalty, [(0, 2.0), (EVALUATIONS // 3, 3.0)])
result = dnt.minimize(
    dnt.NeuralDesign(design, network), dnt.LBFGS(), evaluations=EVALUATIONS, continuation=stages
)
if comm.rank == 0:
    print(result, flush=True)

# %% [markdown]
# ## Picture, STL, and a file for ParaView

# %%
whole = [(1, 0.0)]
density = dnt.io.as_function(result.rho, rho)
surface = dnt.io.write_stl(output / "bracket_3d.stl", density, mirror=whole)
dnt.plotting.plot_solid(
    output / "bracket_3d.png",
    density,
    mirror=whole,
    view=(-1.0, -1.6, 0.9),
    title=f"compliance {result.objective:.2f}",
)
state.solve(result.rho)
dnt.io.write_paraview(output / "bracket_3d.xdmf", density, *state.states)

# %% [markdown]
# ## The numbers this demo stands for

# %%
uniform = compliance.value(design.rho_from_design(domain.expand(design.initial()))) * domain.num_copies
solid = comm.allreduce(float(domain.cell_volumes[result.rho > 0.5].sum())) * domain.num_copies
assert np.all(result.rho[domain.solid] == 1.0)
assert surface is None or surface.is_watertight
state.destroy()
expect(
    comm,
    {
        "Taylor order": (orders.min(), *above(1.9)),
        "volume": (result.volume, *near(VOLUME_FRACTION, 4e-4)),
        "compliance / uniform": (result.objective / uniform, *below(0.05)),
        "volume of the STL / dense cells": (surface.volume / solid if surface else 1.0, *near(1.0, 0.2)),
    },
)
