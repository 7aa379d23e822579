# %% [markdown]
# # Time: a pulse of heat
#
# A device heats for a short time, $q(t) = 1$ up to $t = t_q$, and rests. How hot does it get? What is near
# stores heat, what is far has no time to help. The temperature obeys
#
# $$c(\rho)\,\dot T = \nabla\cdot\bigl(k(\rho)\,\nabla T\bigr) + q(t)\,[\text{device}],
#   \qquad T = 0 \;\text{at}\; t = 0 \;\text{and on the cold edge},$$
#
# step after step by the theta scheme, with $T_{n-\theta} = \theta\,T_n + (1 - \theta)\,T_{n-1}$ and
# $\theta = 1$ here:
#
# $$\int_\Omega c(\rho)\,\frac{T_n - T_{n-1}}{\Delta t}\,v + k(\rho)\,\nabla T_{n-\theta}\cdot\nabla v\,dx
#   = \int_D q_n\,v\,dx \quad \forall v, \qquad n = 1, \dots, N.$$
#
# The objective is near the peak, a $p$-norm over time and device; its gradient goes back from the last step:
#
# $$\min_\rho\; \Bigl(\frac{1}{|D|\,t_N} \sum_n \Delta t \int_D T_n^p\,dx\Bigr)^{1/p},
#   \qquad |\rho| \le 0.25\,|\Omega|.$$
#
# Beside it stands the design for the same power without an end (Bendsøe and Sigmund, Topology Optimization,
# 2003, section 5.1.6): the best one in the long run is not the best one for a pulse.
#
#     ./with-fenicsx python3 demos/demo_transient.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_transient.py

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
from dolfinx_neural_topo.physics import heat

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
N = 64 if FULL else 32  # cells along an edge of length 1
EVALUATIONS = 200 if FULL else 50
VOLUME_FRACTION = 0.25
STEPS, DT, PULSE = 20, 0.05, 0.5

# %% [markdown]
# ## The physics
#
# One half of the plate; the left edge is an axis of symmetry, the upper edge is cold. The steps share one
# matrix and one factorization. A constant with a *history* is what changes from step to step: the power.

# %%
mesh = dmesh.create_unit_square(comm, N, N, dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1))
T, T_old, v = fem.Function(V, name="temperature"), fem.Function(V), ufl.TestFunction(V)
cold = fem.dirichletbc(0.0, fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[1], 1.0)), V)


def in_device(x):
    return (x[0] < 0.125 + 1e-9) & (x[1] < 0.125 + 1e-9)


cells = dmesh.locate_entities(mesh, 2, in_device)
tags = dmesh.meshtags(mesh, 2, cells, np.ones_like(cells))
dx = ufl.Measure("dx", domain=mesh, subdomain_data=tags)
device = dx(1)
AREA = 0.125**2

q = fem.Constant(mesh, 0.0)
times = DT * np.arange(1, STEPS + 1)
k, c = dnt.simp(rho, penalty=fem.Constant(mesh, 3.0), E_min=1e-2), 0.1 + 0.9 * rho
theta = 1.0
middle = theta * T + (1.0 - theta) * T_old
F = c * (T - T_old) / DT * v * dx + k * ufl.dot(ufl.grad(middle), ufl.grad(v)) * dx
F -= q / AREA * v * device
pulse = dnt.TransientProblem(
    F,
    rho,
    u=T,
    u_old=T_old,
    histories={q: np.where(times < PULSE + DT / 2, 1.0, 0.0)},
    bcs=[cold],
    petsc_options_prefix="pulse_",
)
p = 16
norm = dnt.TransientFunctional(DT / (AREA * times[-1]) * T**p * device, pulse, power=1 / p, name="peak")
orders = dnt.taylor_test(norm, step=2e-3)
steady = dnt.StateProblem(
    (heat.bilinear_form(V, k), v / AREA * device), rho, bcs=[cold], petsc_options_prefix="steady_"
)
forever = dnt.ReducedFunctional(steady.u / AREA * device, steady, name="temperature in the long run")

# %% [markdown]
# ## Three designs, and how hot the device gets in each
#
# One for the long run, and two for the pulse.

# %%
domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=in_device)
cone = dnt.ConeFilter(domain, radius=0.05)
design = dnt.Design(norm, domain, filter=cone)
runs = {
    "long run": dnt.minimize(dnt.Design(forever, domain, filter=cone), dnt.MMA(), evaluations=EVALUATIONS),
    "pulse, MMA": dnt.minimize(design, dnt.MMA(), evaluations=EVALUATIONS),
    "pulse, network": dnt.minimize(
        dnt.NeuralDesign(design, dnt.LeanCNN((N, N), seed=0)), dnt.LBFGS(), evaluations=EVALUATIONS
    ),
}
inside = fem.locate_dofs_geometrical(V, in_device)


def curve(density):
    """Return the highest temperature of the device after each step."""
    pulse.solve(density)
    hottest = [T.x.array[inside].max(initial=0.0) for _ in pulse.replay()]
    return np.max(comm.allgather(hottest), axis=0)


curves = {name: curve(result.rho) for name, result in runs.items()}
lasting = {name: forever.value(result.rho) for name, result in runs.items()}
for name, result in runs.items():
    if comm.rank == 0:
        print(f"{name:<15} peak {curves[name].max():.3f}, in the long run {lasting[name]:.3f}; {result}")

# %% [markdown]
# ## Pictures, and a film for ParaView

# %%
fields = {name: dnt.io.as_function(result.rho, rho, name=name) for name, result in runs.items()}
shown = {f"{name}: peak {curves[name].max():.3f}": fields[name] for name in runs}
dnt.plotting.plot_designs(output / "transient.png", shown, columns=3, mirror_left=True)
best = min(("pulse, MMA", "pulse, network"), key=lambda name: curves[name].max())
pulse.solve(runs[best].rho)
with dnt.io.ParaViewFile(output / "transient.xdmf", mesh) as film:
    film.write([*fields.values()], time=0.0)
    for step, time in zip(pulse.replay(), times, strict=True):
        film.write([T], time=time)
        if step == round(PULSE / DT):
            dnt.plotting.plot_field(output / "transient_hot.png", T, title=f"t = {time:.2f}, {best}")

# %% [markdown]
# ## The numbers this demo stands for
#
# A solid plate cools, some time after the pulse, at the rate $\pi^2 / 4$ of its slowest mode.

# %%
pulse.solve(np.ones(pulse.num_owned_cells))
stored = fem.form(c * T * dx)
left = [comm.allreduce(fem.assemble_scalar(stored)) for _ in pulse.replay()]
rate = (left[-2] / left[-1] - 1.0) / DT
numbers = {
    "Taylor order": (orders.min(), *above(1.9)),
    "rate at which a solid plate cools": (rate, *near(np.pi**2 / 4, 5e-3)),
    "peak, pulse / long run": (curves[best].max() / curves["long run"].max(), *below(0.9)),
    "long run, pulse / long run": (lasting[best] / lasting["long run"], *above(2.0)),
}
for name, result in runs.items():
    numbers[f"{name}, volume"] = result.volume, *below(VOLUME_FRACTION + 1e-4)
pulse.destroy()
steady.destroy()
expect(comm, numbers)
