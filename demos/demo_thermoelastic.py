# %% [markdown]
# # Heat that strains: a bracket that carries a load and cools its source
#
# A bracket on a cold wall holds a hot device at its tip: it must carry the weight, lead the heat away, and it
# expands where it is warm. The temperature feeds the displacement, a *chain* of two states:
#
# $$\min_\rho\; J = \int_{\Gamma_t} t\cdot u\,ds + \int_\Omega \sigma_{th}(T) : \varepsilon(u)\,dx
#   \qquad \frac{1}{|\Gamma_t|}\int_{\Gamma_t} T\,ds \le T_{max}, \quad |\rho| \le 0.4\,|\Omega|$$
# $$\int_\Omega k(\rho)\,\nabla T\cdot\nabla s\,dx = \int_{\Gamma_t} q\,s\,ds \quad \forall s, \qquad
#   \int_\Omega \bigl(\sigma(u) - \sigma_{th}(T)\bigr) : \varepsilon(v)\,dx
#   = \int_{\Gamma_t} t\cdot v\,ds \quad \forall v$$
#
# with $\sigma_{th} = E(\rho)\,\alpha\,T / (1 - \nu)\,I$ in plane stress, $T = 0$ and $u = 0$ on the wall. The
# adjoints run the other way: that of $u$ drives that of $T$. The objective is the compliance of all loads, as
# in Rodrigues and Fernandes, A material based model for topology optimization of thermoelastic structures
# (1995).
#
#     ./with-fenicsx python3 demos/demo_thermoelastic.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_thermoelastic.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import above, below, expect
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import elasticity, heat

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
H = 64 if FULL else 32  # cells along the height
EVALUATIONS = 400 if FULL else 120
VOLUME_FRACTION = 0.4

# %% [markdown]
# ## Two equations, one density
#
# The second one holds `warm.u`. That is all it takes to make a chain.

# %%
mesh = dmesh.create_rectangle(comm, [(0.0, 0.0), (2.0, 1.0)], [2 * H, H], dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
S = fem.functionspace(mesh, ("Lagrange", 1))
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
WIDTH = 0.25  # of the tip, where the device sits
tip = dmesh.locate_entities_boundary(
    mesh, 1, lambda x: np.isclose(x[0], 2.0) & (abs(x[1] - 0.5) < WIDTH / 2 + 1e-9)
)
tags = dmesh.meshtags(mesh, 1, np.sort(tip), np.ones(len(tip), dtype=np.int32))
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)(1)

wall = dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 0.0))
cold = fem.dirichletbc(0.0, fem.locate_dofs_topological(S, 1, wall), S)
clamp = fem.dirichletbc(np.zeros(2), fem.locate_dofs_topological(V, 1, wall), V)

penalty = fem.Constant(mesh, 3.0)
k, E = dnt.simp(rho, penalty=penalty, E_min=1e-3), dnt.simp(rho, penalty=penalty, E_min=1e-6)
flux = 1.0 / WIDTH * ufl.TestFunction(S) * ds
warm = dnt.StateProblem((heat.bilinear_form(S, k), flux), rho, bcs=[cold], petsc_options_prefix="warm_")
EXPANSION = 0.02  # strain for a unit of temperature
load = ufl.dot(fem.Constant(mesh, (0.0, -0.1 / WIDTH)), ufl.TestFunction(V)) * ds
load += elasticity.thermal_load(V, E, EXPANSION * warm.u)
bent = dnt.StateProblem(
    (elasticity.bilinear_form(V, E), load), rho, bcs=[clamp], petsc_options_prefix="bent_"
)
warm.u.name, bent.u.name = "temperature", "displacement"

compliance = dnt.Compliance(bent)
heat_of_tip = dnt.ReducedFunctional(warm.u / WIDTH * ds, warm, name="temperature of the tip")
orders = dnt.taylor_test(compliance)

# %% [markdown]
# ## Three designs
#
# Without a limit on the temperature, with one by the method of moving asymptotes, and with the same one by a
# network whose weights an augmented Lagrangian around L-BFGS moves.

# %%
domain = dnt.DesignDomain(
    rho, volume_fraction=VOLUME_FRACTION, solid=lambda x: (x[0] > 1.9) & (abs(x[1] - 0.5) < WIDTH / 2)
)
cone = dnt.ConeFilter(domain, radius=0.06)
free = dnt.Design(compliance, domain, filter=cone)
runs = {"no limit": dnt.minimize(free, dnt.MMA(), evaluations=EVALUATIONS)}
LIMIT = 0.8 * heat_of_tip.value(runs["no limit"].rho)
limited = dnt.Design(compliance, domain, filter=cone, constraints=[(heat_of_tip, LIMIT)])
network = dnt.NeuralDesign(limited, dnt.LeanCNN((H, 2 * H), seed=0))
runs["MMA"] = dnt.minimize(limited, dnt.MMA(), evaluations=EVALUATIONS)
runs["network"] = dnt.minimize(network, dnt.AugmentedLagrangian(dnt.LBFGS()), evaluations=2 * EVALUATIONS)
temperatures = {name: heat_of_tip.value(result.rho) for name, result in runs.items()}
compliances = {name: compliance.value(result.rho) for name, result in runs.items()}
for name, result in runs.items():
    if comm.rank == 0:
        print(f"{name:<8} {temperatures[name] / LIMIT:.4f} of the limit; {result}", flush=True)

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in runs.items()}
dnt.plotting.plot_designs(
    output / "thermoelastic.png",
    {f"{name}: c = {compliances[name]:.3f}, T = {temperatures[name]:.2f}": fields[name] for name in runs},
    columns=3,
)
bent.solve(runs["network"].rho)  # solves for the temperature first
dnt.plotting.plot_field(
    output / "thermoelastic_at_work.png",
    warm.u,
    density=fields["network"],
    displacement=bent.u,
    title="temperature, bent",
)
dnt.io.write_paraview(output / "thermoelastic.xdmf", *fields.values(), warm.u, bent.u)

# %% [markdown]
# ## The numbers this demo stands for

# %%
numbers = {"Taylor order": (orders.min(), *above(1.9))}
for name, result in runs.items():
    numbers[f"{name}, volume"] = result.volume, *below(VOLUME_FRACTION + 1e-4)
    numbers[f"{name}, compliance / no limit"] = compliances[name] / compliances["no limit"], *below(1.3)
for name in ("MMA", "network"):
    numbers[f"{name}, temperature / limit"] = temperatures[name] / LIMIT, *below(1.0 + 1e-5)
bent.destroy()
warm.destroy()
expect(comm, numbers)
