# %% [markdown]
# # Buckling: a column that must not give way sideways
#
# A column is clamped at its foot and pressed at its head. The stiffest one gathers its material along the
# axis, and buckles early. The load makes the stress $\sigma_0$, which the second problem holds:
#
# $$\int_\Omega \sigma(u) : \varepsilon(v)\,dx = \int_{\Gamma_h} t\cdot v\,ds \quad \forall v, \qquad
#   \int_\Omega \varepsilon(w) : \mathbb{C}(\rho) : \varepsilon(v)\,dx
#   = -\lambda \int_\Omega \sigma_0(u) : (\nabla w)^T\,\nabla v\,dx \quad \forall v.$$
#
# $\lambda_1 \le \lambda_2 \le \dots$ are the factors on the load at which it buckles. Some of them come close
# at the optimum, so the objective is a smooth lowest one of six,
#
# $$\max_\rho\; \Bigl(\sum_i \lambda_i^{-16}\Bigr)^{-1/16}, \qquad |\rho| \le 0.5\,|\Omega|.$$
#
# Void keeps a little stiffness and no stress $\sigma_0$: else void would buckle first (Bendsøe and Sigmund,
# Topology Optimization, 2003, section 2.2.2). What holds the flanges apart stays grey at this size.
#
#     ./with-fenicsx python3 demos/demo_buckling.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_buckling.py

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
N = 32 if FULL else 16  # cells across
EVALUATIONS = 150 if FULL else 30
LENGTH, VOLUME_FRACTION = 4, 0.5

# %% [markdown]
# ## Two problems, one density

# %%
mesh = dmesh.create_rectangle(comm, [(0, 0), (LENGTH, 1)], [LENGTH * N, N], dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
clamp = fem.dirichletbc(np.zeros(2), fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0)), V)
head = dmesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], LENGTH))
tags = dmesh.meshtags(mesh, 1, np.sort(head), np.ones(len(head), dtype=np.int32))
ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags)(1)

penalty = fem.Constant(mesh, 3.0)
E, E_stressed = dnt.simp(rho, penalty=penalty, E_min=1e-6), dnt.simp(rho, penalty=penalty, E_min=0.0)
a = elasticity.bilinear_form(V, E)
push = ufl.dot(fem.Constant(mesh, (-1e-3, 0.0)), ufl.TestFunction(V)) * ds
pressed = dnt.StateProblem((a, push), rho, bcs=[clamp], petsc_options_prefix="pressed_")
b = elasticity.geometric_form(V, elasticity.stress(pressed.u, E_stressed))
buckling = dnt.EigenProblem(a, b, rho, num=6, bcs=[clamp], petsc_options_prefix="buckling_")
lowest, compliance = dnt.Eigenvalue(buckling, name="load factor"), dnt.Compliance(pressed)
orders = dnt.taylor_test(lowest, step=2e-3)

# %% [markdown]
# ## Three designs
#
# The load is spread by a solid head.

# %%
domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=lambda x: x[0] > LENGTH - 0.17)
cone = dnt.ConeFilter(domain, radius=0.12)
design = dnt.Design(1.0 / lowest, domain, filter=cone)
runs = {
    "stiffest": dnt.minimize(dnt.Design(compliance, domain, filter=cone), dnt.MMA(), evaluations=EVALUATIONS),
    "buckling, MMA": dnt.minimize(design, dnt.MMA(), evaluations=EVALUATIONS),
    "buckling, network": dnt.minimize(
        dnt.NeuralDesign(design, dnt.LeanCNN((N, LENGTH * N), seed=0)), dnt.LBFGS(), evaluations=EVALUATIONS
    ),
}
factors, compliances = {}, {}
for name, result in runs.items():
    compliances[name] = compliance.value(result.rho)
    lowest.value(result.rho)
    factors[name] = buckling.eigenvalues[0]
    if comm.rank == 0:
        print(f"{name:<18} factors {np.round(buckling.eigenvalues[:3], 2)}; {result}", flush=True)

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in runs.items()}
shown = {f"{name}: buckles at {factors[name]:.2f}": fields[name] for name in runs}
dnt.plotting.plot_designs(output / "buckling.png", shown, columns=1)
best = "buckling, MMA"
lowest.value(runs[best].rho)
buckling.u.name = "mode"
dnt.plotting.plot_field(
    output / "buckling_mode.png",
    buckling.u,
    density=fields[best],
    displacement=buckling.u,
    title="it gives way",
)
dnt.io.write_paraview(output / "buckling.xdmf", *fields.values(), pressed.u, buckling.u)

# %% [markdown]
# ## The numbers this demo stands for
#
# Of a solid column the first factor is Euler's, less what shear takes (Engesser 1891).

# %%
lowest.value(np.ones(buckling.num_owned_cells))
euler = np.pi**2 / (4.0 * LENGTH**2) / 12.0
expected = euler / (1.0 + euler / (5.0 / 6.0 / 2.6)) / 1e-3
numbers = {
    "Taylor order": (orders.min(), *above(1.9)),
    "factor of the solid column": (buckling.eigenvalues[0], *near(expected, 3e-2)),
}
for name, result in runs.items():
    numbers[f"{name}, volume"] = result.volume, *below(VOLUME_FRACTION + 1e-4)
for name in ("buckling, MMA", "buckling, network"):
    numbers[f"{name}, factor / stiffest"] = factors[name] / factors["stiffest"], *above(3.0)
buckling.destroy()
pressed.destroy()
expect(comm, numbers)
