# %% [markdown]
# # Natural frequencies: a beam that shall not resonate
#
# A beam of length 8 and height 1 is clamped, and half of it may be material. Where must it be, so that the
# lowest natural frequency $\omega_1$ is highest?
#
# $$\max_\rho\; \omega_1, \qquad \int_\Omega \sigma(u):\varepsilon(v)\,dx = \omega^2 \left(
#   \int_\Omega m(\rho)\,u\cdot v\,dx + \frac{M}{|\Gamma|} \int_\Gamma u\cdot v\,ds \right) \quad \forall v$$
#
# with $E(\rho) = 10^7 \rho^3$ and a mass $m(\rho)$ that vanishes faster than the stiffness below
# $\rho = 0.1$, so that void has no modes of its own. Frequencies meet while the lowest one rises, and where
# they do, it has no derivative. The smooth lowest eigenvalue $(\sum_i \lambda_i^{-16})^{-1/16}$, $\lambda =
# \omega^2$, has one: it treats all modes alike.
#
# Clamped at both ends and without the mass $M$, this is the beam of Du and Olhoff, Topological design of
# freely vibrating continuum structures for maximum values of simple and multiple eigenfrequencies and
# frequency gaps, SMO 34 (2007): they go from 146.1 (uniform) to 456.4. A cantilever with a tip mass follows,
# and a gap between two frequencies.
#
#     ./with-fenicsx python3 demos/demo_eigenfrequency.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_eigenfrequency.py

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
H = 30 if FULL else 16  # cells along the height
EVALUATIONS = 300 if FULL else 60
VOLUME_FRACTION = 0.5

# %% [markdown]
# ## Two beams on one mesh
#
# `EigenProblem` takes stiffness and mass. SLEPc's eigenvalues are functions of the density like any other.

# %%
mesh = dmesh.create_rectangle(comm, [(0.0, 0.0), (8.0, 1.0)], [8 * H, H], dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
ends = [dmesh.locate_entities_boundary(mesh, 1, lambda x, at=at: np.isclose(x[0], at)) for at in (0.0, 8.0)]
left, right = (fem.dirichletbc(np.zeros(2), fem.locate_dofs_topological(V, 1, facets), V) for facets in ends)
tags = dmesh.meshtags(mesh, 1, np.sort(ends[1]), np.ones(len(ends[1]), dtype=np.int32))
tip = ufl.Measure("ds", domain=mesh, subdomain_data=tags)(1)

u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
penalty = fem.Constant(mesh, 3.0)
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=penalty, E0=1e7, E_min=1e-2), nu=0.3)
m = dnt.mass(rho) * ufl.dot(u, v) * ufl.dx
TIP_MASS = 1.0  # a quarter of the beam's own
beams = {
    "both ends": dnt.EigenProblem(a, m, rho, num=4, bcs=[left, right], petsc_options_prefix="both_"),
    "tip mass": dnt.EigenProblem(
        a, m + TIP_MASS * ufl.dot(u, v) * tip, rho, num=4, bcs=[left], petsc_options_prefix="tip_"
    ),
}

# %% [markdown]
# ## The network against the method of moving asymptotes

# %%
numbers, fields = {}, {}


def frequencies(problem, density):
    problem.solve(density)
    return problem.eigenvalues**0.5


def maximize(beam, problem, objective, quantity, solid=None):
    """Minimize an objective by both methods; note how far the quantity of all frequencies came."""
    domain = dnt.DesignDomain(rho, volume_fraction=VOLUME_FRACTION, solid=solid)
    design = dnt.Design(objective, domain, filter=dnt.ConeFilter(domain, radius=0.12))
    uniform = quantity(frequencies(problem, np.full(problem.num_owned_cells, VOLUME_FRACTION)))
    numbers[f"{beam}, Taylor order"] = dnt.taylor_test(objective).min(), *above(1.9)
    methods = {
        "MMA": (design, dnt.MMA()),
        "network": (dnt.NeuralDesign(design, dnt.LeanCNN((H, 8 * H), seed=0)), dnt.LBFGS()),
    }
    for method, (variables, optimizer) in methods.items():
        run = dnt.minimize(variables, optimizer, evaluations=EVALUATIONS)
        omega, name = frequencies(problem, run.rho), f"{beam}, {method}"
        numbers[f"{name} / uniform"] = quantity(omega) / uniform, *above(2.2)
        numbers[f"{name}, volume"] = run.volume, *below(VOLUME_FRACTION + 2e-4)
        field = dnt.io.as_function(run.rho, rho, name=name.replace(", ", "_").replace(" ", "_"))
        fields[f"{name}: {quantity(omega):.1f}"] = field
        if comm.rank == 0:
            print(f"{name:<20} omega = {np.array2string(omega, precision=1)}  {run}", flush=True)
    return uniform


for beam, problem in beams.items():
    solid = (lambda x: x[0] > 7.85) if beam == "tip mass" else None
    uniform = maximize(beam, problem, 1e4 / dnt.Eigenvalue(problem), lambda omega: omega[0], solid)
    bounds = near(146.1, 6e-3) if beam == "both ends" else near(17.54, 1e-2)
    numbers[f"{beam}, uniform, omega_1"] = uniform, *bounds

# %% [markdown]
# ## A gap between two frequencies
#
# A machine that runs between $\omega_1$ and $\omega_2$ wants them far apart:
# $\max_\rho\; \omega_2 - \omega_1$. All modes above the first count in the smooth $\omega_2$: they meet.

# %%
both = beams["both ends"]
first, second = (dnt.Eigenvalue(both, group) ** 0.5 for group in (range(1), range(1, 4)))
maximize("gap", both, 1e-2 * (first - second), lambda omega: omega[1] - omega[0])

# %% [markdown]
# ## Pictures, and a file for ParaView
#
# With the tip mass both find a tapered truss. For the gap MMA finds two stiff halves between hinges, the
# network one long stiff part between two soft ends: the first mode bends what is soft, the second must bend
# what is stiff. Between two clamps the network finds what the model allows and the published search from a
# uniform start does not meet: two short cantilevers with nothing between them. A mass to be carried, as that
# of the tip, is what keeps a structure whole.

# %%
dnt.plotting.plot_designs(output / "eigenfrequency.png", fields, columns=2)
mode = both.u  # of the last design, which `both` was solved for last
mode.name = "mode"
last = list(fields.values())[-1]
dnt.plotting.plot_displacement(
    output / "eigenfrequency_mode.png", mode, density=last, level=0.3, title="gap, network: lowest mode"
)
dnt.io.write_paraview(output / "eigenfrequency.xdmf", *fields.values(), mode)

# %% [markdown]
# ## The numbers this demo stands for

# %%
for problem in beams.values():
    problem.destroy()
expect(comm, numbers)
