# %% [markdown]
# # Channels for a slow flow: pipe bend and double pipe
#
# After Borrvall and Petersson (2003). The density now means fluid ($\rho = 1$) or wall ($\rho = 0$), a wall
# being a very dense porous medium. A third of $\Omega = (0, \tfrac32) \times (0, 1)$ may be fluid; which
# channels dissipate least power?
#
# $$\min_\rho\; \tfrac12\int_\Omega |\nabla u|^2 + \alpha(\rho)\,|u|^2\,dx, \qquad
#   -\Delta u + \alpha(\rho)\,u + \nabla p = 0, \quad \nabla\cdot u = 0, \quad
#   u = g \text{ on } \partial\Omega,$$
# $$\alpha(\rho) = \bar\alpha + (\underline\alpha - \bar\alpha)\,\rho\,\frac{1 + q}{\rho + q}, \qquad
#   \bar\alpha = 2.5\cdot 10^4, \quad \underline\alpha = 2.5\cdot 10^{-4}$$
#
# with parabolic profiles $g$ at the openings. The double pipe has two local minima: two straight pipes, and a
# wrench that joins them on the way, which is better in a domain this long. No filter, as in the paper; $q$
# grows from 0.01 to 0.1.
#
#     ./with-fenicsx python3 demos/demo_stokes_flow.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_stokes_flow.py

# %%
import sys
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import above, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.physics import stokes

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
H = 108 if FULL else 36  # cells along the height
EVALUATIONS = 150 if FULL else 60
ALPHA_MAX, ALPHA_MIN = 2.5e4, 2.5e-4

# %% [markdown]
# ## The physics, for any rectangle and any openings


# %%
def parabola(s, centre, width):
    """Profile of height 1 over an opening."""
    return np.maximum(0.0, 1.0 - (2.0 * (s - centre) / width) ** 2)


class Channels:
    """State problem, functional and design domain of one task."""

    def __init__(self, name, length, boundary_velocity, volume_fraction):
        shape = (round(length * H), H)
        self.mesh = dmesh.create_rectangle(comm, [(0, 0), (length, 1)], shape, dmesh.CellType.quadrilateral)
        self.rho = fem.Function(fem.functionspace(self.mesh, ("DG", 0)), name=f"{name}_fluid")
        self.q = fem.Constant(self.mesh, 0.1)
        alpha = stokes.brinkman(self.rho, alpha_max=ALPHA_MAX, alpha_min=ALPHA_MIN, q=self.q)
        W = stokes.taylor_hood(self.mesh)
        bcs = self.conditions(W, boundary_velocity)
        a = stokes.bilinear_form(W, alpha)
        self.state = dnt.StateProblem((a, None), self.rho, bcs=bcs, petsc_options_prefix=f"{name}_")
        self.power = dnt.ReducedFunctional(
            stokes.dissipated_power(self.state.u, alpha), self.state, name="dissipated power"
        )
        self.domain = dnt.DesignDomain(self.rho, volume_fraction=volume_fraction)
        self.design = dnt.Design(self.power, self.domain)
        self.grid = dnt.CellGrid(self.mesh, shape[::-1])

    def conditions(self, W, boundary_velocity):
        """Prescribe the velocity on the whole boundary, and the pressure (free by a constant) at a corner."""
        self.mesh.topology.create_connectivity(1, 2)
        outside = dmesh.exterior_facet_indices(self.mesh.topology)
        velocities, _ = W.sub(0).collapse()
        g = fem.Function(velocities)
        g.interpolate(boundary_velocity)
        dofs = fem.locate_dofs_topological((W.sub(0), velocities), 1, outside)
        pressures, _ = W.sub(1).collapse()
        origin = fem.locate_dofs_geometrical(
            (W.sub(1), pressures), lambda x: np.isclose(x[0], 0) & np.isclose(x[1], 0)
        )
        return [
            fem.dirichletbc(g, dofs, W.sub(0)),
            fem.dirichletbc(fem.Function(pressures), origin, W.sub(1)),
        ]

    def run(self, method):
        """Optimize from scratch, with q growing."""
        network = dnt.NeuralDesign(
            self.design, dnt.LeanCNN(self.grid.shape, seed=0), dnt.PixelTransfer(self.grid)
        )
        variables, optimizer = (network, dnt.LBFGS()) if method == "network" else (self.design, dnt.MMA())
        stages = dnt.Continuation(self.q, [(0, 0.01), (EVALUATIONS // 3, 0.1)])
        return dnt.minimize(variables, optimizer, evaluations=EVALUATIONS, continuation=stages)


# %% [markdown]
# ## Two tasks, two methods


# %%
def straight(x):
    """In and out through two openings of width 1/6 on each side."""
    opening = np.isclose(x[0], 0.0) | np.isclose(x[0], 1.5)
    profile = parabola(x[1], 1 / 4, 1 / 6) + parabola(x[1], 3 / 4, 1 / 6)
    return np.stack([opening * profile, np.zeros_like(profile)])


def bent(x):
    """In through the left edge, out through the lower one, openings of width 1/5."""
    inflow = np.isclose(x[0], 0.0) * parabola(x[1], 0.8, 0.2)
    outflow = np.isclose(x[1], 0.0) * parabola(x[0], 0.8, 0.2)
    return np.stack([inflow, -outflow])


tasks = {
    "double_pipe": Channels("double_pipe", 1.5, straight, 1 / 3),
    "pipe_bend": Channels("pipe_bend", 1.0, bent, 0.08 * np.pi),
}
orders = dnt.taylor_test(tasks["pipe_bend"].power)
results = {}
for name, task in tasks.items():
    for method in ("network", "MMA"):
        results[name, method] = task.run(method)
        if comm.rank == 0:
            print(f"{name:<12} {method:<8} {results[name, method]}", flush=True)

# %% [markdown]
# ## Pictures, and files for ParaView

# %%
for name, task in tasks.items():
    fields = {m: dnt.io.as_function(results[name, m].rho, task.rho, name=m) for m in ("network", "MMA")}
    shown = {f"{m}: {results[name, m].objective:.3f}": field for m, field in fields.items()}
    dnt.plotting.plot_designs(output / f"stokes_flow_{name}.png", shown)
    task.state.solve(results[name, "network"].rho)
    velocity = task.state.u.sub(0).collapse()
    velocity.name = "velocity"
    dnt.plotting.plot_field(output / f"stokes_flow_{name}_velocity.png", velocity)
    dnt.io.write_paraview(output / f"stokes_flow_{name}.xdmf", *fields.values(), velocity)

# %% [markdown]
# ## The numbers this demo stands for
#
# dolfin-adjoint publishes 45.94 for the double pipe of the same length, with the viscous part counted twice
# as here (example "Topology optimisation of fluids in Stokes flow").

# %%
task = tasks["double_pipe"]
u, _ = ufl.split(task.state.u)
alpha = stokes.brinkman(task.rho, alpha_max=ALPHA_MAX, alpha_min=ALPHA_MIN, q=task.q)
published = fem.form((0.5 * alpha * ufl.dot(u, u) + ufl.inner(ufl.grad(u), ufl.grad(u))) * ufl.dx)
numbers = {"Taylor order": (orders.min(), *above(1.9))}
for method in ("network", "MMA"):
    task.state.solve(results["double_pipe", method].rho)
    value = comm.allreduce(fem.assemble_scalar(published), op=MPI.SUM)
    numbers[f"double pipe, {method}, as published"] = value, *near(45.94, 0.05)
for (name, method), result in results.items():
    numbers[f"{name}, {method}, volume"] = result.volume, *near(tasks[name].domain.volume_fraction, 3e-4)
    numbers[f"{name}, {method}"] = result.objective, *above(0.0)
for task in tasks.values():
    task.state.destroy()
expect(comm, numbers)
