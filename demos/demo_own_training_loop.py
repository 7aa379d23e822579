# %% [markdown]
# # The structure as a loss function in your own training loop
#
# A cantilever $\Omega = (0, 96) \times (0, 48)$ with a load at the middle of its free end. The compliance is
# one term of a PyTorch loss like any other; the second is of your own making, here a penalty on grey
# material:
#
# $$\min_w\; \frac{c(\rho)}{c_0} + \alpha\, g(\rho), \qquad
#   g(\rho) = \frac{1}{|\Omega|}\int_\Omega 4\rho(1 - \rho)\,dx,$$
# $$\rho = \text{filter}(\text{sigmoid}(\text{network}_w + b)), \qquad
#   \frac{1}{|\Omega|}\int_\Omega \rho\,dx = 0.4$$
#
# The shift $b$ that meets the volume is found, and differentiated, inside. Network, optimizer, schedule and
# loop are plain PyTorch; the loss is the same number on every rank.
#
#     ./with-fenicsx python3 demos/demo_own_training_loop.py [--full]
#     ./with-fenicsx mpirun -n 2 python3 demos/demo_own_training_loop.py

# %%
import sys
from pathlib import Path

import numpy as np
import torch
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from expected import below, expect, near
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from dolfinx_neural_topo.bridge import global_sum
from dolfinx_neural_topo.physics import elasticity

comm = MPI.COMM_WORLD
output = Path(__file__).parent / "output"
FULL = "--full" in sys.argv
W, H = 96, 48
STEPS = 400 if FULL else 80
ALPHA = 0.5  # weight of the greyness

# %% [markdown]
# ## The physics and the design

# %%
mesh = dmesh.create_rectangle(comm, [(0, 0), (W, H)], (W, H), dmesh.CellType.quadrilateral)
rho = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="density")
V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
a = elasticity.bilinear_form(V, dnt.simp(rho, penalty=3.0), nu=0.3)
L = ufl.dot(fem.Constant(mesh, (0.0, 0.0)), ufl.TestFunction(V)) * ufl.dx
wall = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
clamp = fem.dirichletbc(np.zeros(2), wall, V)
load = dnt.nodal_load(V, [(W, H // 2)], [(0.0, -1.0)])
state = dnt.StateProblem((a, L), rho, bcs=[clamp], nodal_loads=[load], petsc_options_prefix="loop_")

domain = dnt.DesignDomain(rho, volume_fraction=0.4)
design = dnt.Design(dnt.Compliance(state), domain, filter=dnt.ConeFilter(domain, radius=2.0))
grid = dnt.CellGrid(mesh, (H, W))
objective = dnt.TopologyObjective(design, dnt.PixelTransfer(grid))
cell_volumes = torch.from_numpy(domain.cell_volumes)
area = domain.design_volume


def greyness(density):
    """Return 0 for black and white, 1 where everything is one half; `density` on this rank's cells."""
    return global_sum(comm, (cell_volumes * 4 * density * (1 - density)).sum()) / area


# %% [markdown]
# ## Your network
#
# Any module that returns one logit a pixel. The same seed on all ranks makes it the same on all ranks.


# %%
class MyNetwork(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.seed_image = torch.nn.Parameter(torch.randn(1, 32, H // 8, W // 8))
            self.layers = torch.nn.ModuleList(
                torch.nn.Conv2d(c, d, kernel_size=5, padding=2)
                for c, d in [(32, 32), (32, 16), (16, 8), (8, 1)]
            )

    def forward(self):
        y = self.seed_image
        for k, layer in enumerate(self.layers):
            if k > 0:
                y = torch.nn.functional.interpolate(torch.sin(y), scale_factor=2, mode="bilinear")
                y = (y - y.mean()) / y.std()
            y = layer(y)
        return y[0, 0]


# %% [markdown]
# ## Your loop


# %%
def train(alpha):
    """Return the history of (compliance, greyness) and the last density on owned cells."""
    network = MyNetwork(seed=0)
    adam = torch.optim.Adam(network.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    history, scale = [], None
    for step in range(STEPS):
        adam.zero_grad()
        logits = network().to(torch.float64)
        compliance = objective(logits)
        density = objective.density(logits)
        grey = greyness(density)
        scale = scale or compliance.item()
        loss = compliance / scale + alpha * (step / STEPS) * grey
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        schedule.step()
        history.append((compliance.item(), grey.item()))
        if comm.rank == 0 and (step + 1) % 40 == 0:
            print(f"alpha {alpha}: step {step + 1:4d}  c {history[-1][0]:9.3f}  grey {history[-1][1]:.3f}")
    return np.array(history), density.detach().numpy().copy()


runs = {"compliance alone": train(0.0), "with a penalty on grey": train(ALPHA)}

# %% [markdown]
# ## Pictures, and a file for ParaView

# %%
images, fields = {}, []
for name, (history, density) in runs.items():
    images[f"{name}: c = {history[-1, 0]:.1f}, grey = {history[-1, 1]:.3f}"] = grid.to_image(density)
    fields.append(dnt.io.as_function(density, rho, name=name.replace(" ", "_")))
dnt.plotting.plot_designs(output / "own_training_loop.png", images, columns=2, comm=comm)
dnt.plotting.plot_convergence(
    output / "own_training_loop_convergence.png",
    {name: history[:, 0] for name, (history, _) in runs.items()},
    ylabel="compliance",
    comm=comm,
)
dnt.io.write_paraview(output / "own_training_loop.xdmf", *fields)

# %% [markdown]
# ## The numbers this demo stands for

# %%
plain, penalized = (history for history, _ in runs.values())
numbers = {f"{name}, volume": (design.volume(rho), *near(0.4, 1e-9)) for name, (_, rho) in runs.items()}
state.destroy()
expect(
    comm,
    numbers
    | {
        "compliance, last / first": (plain[-1, 0] / plain[0, 0], *below(0.3)),
        "grey, with penalty / without": (penalized[-1, 1] / plain[-1, 1], *below(0.9)),
        "compliance, with penalty / without": (penalized[-1, 0] / plain[-1, 0], *below(1.25)),
    },
)
