"""Every public collective name, called with something else on one rank: no rank hangs, all end alike."""

import importlib
import inspect
import os
import re
import sys
import threading

import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

import dolfinx_neural_topo as topo
from dolfinx_neural_topo import bridge, density, io, networks, optimize, physics
from dolfinx_neural_topo._meeting import communicator_of
from dolfinx_neural_topo.errors import NeuralTopoError, together
from dolfinx_neural_topo.optimize.method import Method

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1
MODULES = ("bridge", "density", "io", "optimize", "physics")
ENOUGH = 20.0  # seconds for one call


class OwnPixels(networks.PixelLogits):
    """Replicated, as every network with a forward of its own is: may serve several designs."""

    def forward(self):
        return super().forward()


def _is_noted(thing):
    return re.search(r"Note: Collective(?! among)", inspect.getdoc(thing) or "") is not None


def _doors():
    """Yield the name and the function of everything public whose docstring says that it is collective."""
    for module in MODULES:
        home = importlib.import_module(f"dolfinx_neural_topo.{module}")
        for name in home.__all__:
            thing = getattr(home, name)
            if inspect.isfunction(thing):
                if _is_noted(thing):
                    yield name, thing
            elif inspect.isclass(thing) and Method not in thing.__mro__:  # methods are called by `minimize`
                if _is_noted(thing) and "__init__" in vars(thing):
                    yield name, thing.__init__
                for key, method in vars(thing).items():
                    if inspect.isfunction(method) and not key.startswith("_") and _is_noted(method):
                        yield f"{name}.{key}", method


def test_every_public_collective_function_lets_ranks_meet():
    forgotten = [name for name, door in _doors() if not hasattr(door, "__collective__")]
    assert forgotten == []


def _valid(folder):
    """Yield name, function and arguments of calls that are right."""
    square = mesh.create_rectangle(COMM, [(0, 0), (2, 1)], [8, 4], mesh.CellType.quadrilateral)
    rho = fem.Function(fem.functionspace(square, ("DG", 0)))
    V = fem.functionspace(square, ("Lagrange", 1))
    bc = fem.dirichletbc(0.0, fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0)), V)
    a = (
        physics.simp(rho, E_min=1e-3)
        * ufl.dot(*map(ufl.grad, (ufl.TrialFunction(V), ufl.TestFunction(V))))
        * ufl.dx
    )
    load = physics.nodal_load(V, [[2.0, 1.0]], [1.0])
    problem = {
        "equation": (a, None), "rho": rho, "bcs": [bc], "nodal_loads": load,
        "petsc_options_prefix": "agreement_", "solver": "direct",
    }  # fmt: skip
    state = physics.StateProblem(**problem)
    compliance = physics.Compliance(state)
    domain = density.DesignDomain(rho, volume_fraction=0.5)
    cone, helmholtz = density.ConeFilter(domain, 0.5), density.HelmholtzFilter(domain, 0.5)
    design = density.Design(compliance, domain, filter=cone, projection=density.HeavisideProjection(2.0))
    grid = density.CellGrid(square, (4, 8))
    network = OwnPixels((4, 8))
    transfer = bridge.PixelTransfer(grid)
    neural = bridge.NeuralDesign(design, network, transfer)
    cells = np.full(domain.num_owned_cells, 0.5)
    x = design.initial()
    yield (
        "nodal_load",
        physics.nodal_load,
        {"V": V, "points": np.array([[2.0, 1.0]]), "values": np.array([1.0])},
    )
    yield "StateProblem", physics.StateProblem, problem
    yield "StateProblem.solve", state.solve, {"rho": cells}
    yield "Compliance", physics.Compliance, {"state": state, "weights": [1.0], "name": "c"}
    yield "Compliance.value", compliance.value, {"rho": cells}
    yield "Compliance.value_and_gradient", compliance.value_and_gradient, {"rho": cells}
    yield (
        "ReducedFunctional",
        physics.ReducedFunctional,
        {"J": state.u**2 * ufl.dx, "state": state, "power": 0.5, "name": "J"},
    )
    yield (
        "taylor_test",
        physics.taylor_test,
        {"functional": compliance, "rho": cells, "direction": cells, "step": 0.01, "num_steps": 2, "seed": 1},
    )
    yield (
        "DesignDomain",
        density.DesignDomain,
        {"space_or_rho": rho, "volume_fraction": 0.5, "solid": cells > 1, "void": None, "symmetry": ()},
    )
    yield "ConeFilter", density.ConeFilter, {"domain": domain, "radius": 0.5}
    yield "HelmholtzFilter", density.HelmholtzFilter, {"domain": domain, "radius": 0.5, "petsc_options": None}
    for stage in (cone, helmholtz):
        name = type(stage).__name__
        yield f"{name}.apply", stage.apply, {"rho_design": cells}
        yield f"{name}.apply_transpose", stage.apply_transpose, {"values": cells}
        yield f"{name}.pullback", stage.pullback, {"dJ_drho_filtered": cells}
    yield (
        "Design",
        density.Design,
        {
            "functional": compliance, "domain": domain, "filter": cone, "constrain": "physical",
            "projection": density.HeavisideProjection(2.0), "constraints": ((compliance, 3.0),),
        },
    )  # fmt: skip
    yield "Design.evaluate", design.evaluate, {"x": x, "gradient": True}
    yield "Logits.evaluate", design.logits.evaluate, {"logits": cells, "gradient": False}
    yield "Design.evaluate_density", design.evaluate_density, {"rho_design": cells, "gradient": True}
    yield "Design.volume_constraint", design.volume_constraint, {"x": x}
    yield "Design.rho_from_design", design.rho_from_design, {"rho_design": cells}
    yield "Design.pullback_density", design.pullback_density, {"dJ_drho": cells, "rho_design": cells}
    yield "Design.volume", design.volume, {"rho": cells}
    yield "CellGrid", density.CellGrid, {"mesh": square, "shape": (4, 8)}
    yield "CellGrid.to_cells", grid.to_cells, {"image": np.zeros((4, 8))}
    yield "CellGrid.to_image", grid.to_image, {"values": cells}
    yield "CellGrid.sum_cells", grid.sum_cells, {"values": cells}
    yield "VolumeConstrainedSigmoid", density.VolumeConstrainedSigmoid, {"domain": domain, "weights": None}
    yield "SampledTransfer", bridge.SampledTransfer, {"domain": domain, "shape": (4, 8)}
    yield "TopologyObjective", bridge.TopologyObjective, {"design": design, "transfer": transfer}
    yield "NeuralDesign", bridge.NeuralDesign, {"design": design, "network": network, "transfer": transfer}
    yield "NeuralDesign.evaluate", neural.evaluate, {"x": neural.initial(), "gradient": True}
    yield (
        "minimize",
        optimize.minimize,
        {
            "variables": design, "method": optimize.MMA(), "evaluations": 2, "seconds": 5.0,
            "checkpoint_every": 3, "callbacks": (), "stop": optimize.RelativeProgress(),
            "continuation": None, "progress": False, "checkpoint": None,
        },
    )  # fmt: skip
    yield "write_density", io.write_density, {"path": folder / "rho.npz", "density": rho}


def _others(value):
    """Return what could stand in the place of an argument by mistake."""
    others = [None, "nonsense", np.nan, -1.0, 7, object(), [], {"key": 1}]
    if isinstance(value, np.ndarray):
        others += [
            value[:-1],
            value.astype(complex),
            np.full_like(value, np.nan, dtype=float),
            value[None],
            2 * value,
        ]
    if isinstance(value, float):
        others.append(0.9 * value)
    if isinstance(value, optimize.MMA):
        others += [optimize.MMA(move=0.1), optimize.OC(), optimize.MMA]
    if isinstance(value, density.HeavisideProjection):
        others.append(density.HeavisideProjection(4.0))
    if isinstance(value, density.DesignDomain):
        alone = mesh.create_unit_square(MPI.COMM_SELF, 2, 2)
        others.append(density.DesignDomain(fem.functionspace(alone, ("DG", 0)), volume_fraction=0.5))
    return others


def _call(name, function, arguments):
    """Return how a call ended; end the program with its name where it does not."""

    def give_up():
        sys.stderr.write(f"\n{name} hangs on rank {COMM.rank}\n")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(ENOUGH, give_up)
    timer.daemon = True
    timer.start()
    try:
        together(COMM, lambda: function(**arguments))  # a rank that has gone on alone meets the others here
        return "accepted"
    except NeuralTopoError as error:
        return type(error).__name__
    except Exception as error:
        return f"raw {type(error).__name__}: {error}"
    finally:
        timer.cancel()


@pytest.mark.timeout(120)
def test_another_argument_on_one_rank_ends_alike_on_all(tmp_path, monkeypatch):
    folder = COMM.bcast(tmp_path)
    monkeypatch.chdir(folder)  # where a path of "nonsense" is written
    wrong = []
    for name, function, right in _valid(folder):
        assert _call(name, function, right) == "accepted", name
        owner = getattr(function, "__self__", None)
        assert owner is None or communicator_of(owner) is not None, f"{name} finds no communicator"
        for argument, value in right.items():
            for other in _others(value):
                arguments = {**right, argument: other} if LAST else right
                case = f"{name}({argument}={other!r:.60})"
                ends = COMM.allgather(_call(case, function, arguments))
                if len(set(ends)) > 1 or (any(end.startswith("raw") for end in ends)):
                    wrong.append(f"{case}: {ends}")
    assert wrong == [], "\n".join(wrong)
    assert topo.__version__
