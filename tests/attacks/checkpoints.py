"""Checkpoints: of another problem, damaged, or where nothing can be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import Plane, Plate, folder, minimize, rectangle
from dolfinx_neural_topo.optimize import Continuation
from dolfinx_neural_topo.physics import elasticity

t = Topic("checkpoints")


def run(variables, path, method=None, evaluations=6, **options):
    return minimize(
        variables, method, checkpoint=path, checkpoint_every=2, evaluations=evaluations, **options
    )


def written(make=lambda: Plate().design(), name="run.npz", **options) -> Path:
    """Return the checkpoint of a short run."""
    path = folder() / name
    run(make(), path, **options)
    return path


# --- a checkpoint belongs to its problem ----------------------------------------------------------


def with_limit(bound=5e4, number=1):
    plate = Plate()
    C = plate.compliance
    return plate.design(C, constraints=[(C, bound)] * number)


def filtered(**options):
    plate = Plate()
    domain = plate.domain(**options)
    return plate.design(domain=domain)


def helmholtz():
    plate = Plate()
    domain = plate.domain()
    return plate.design(domain=domain, filter=dnt.HelmholtzFilter(domain, 1.6))


def loaded(value=-1.0, nu=0.3, penalty=3.0, weight=1.0, right_half=False):
    plate = Plate()
    plate.load.value = value
    a = elasticity.bilinear_form(plate.V, dnt.simp(plate.rho, penalty=penalty), nu=nu)
    where = (
        ufl.conditional(ufl.gt(ufl.SpatialCoordinate(plate.mesh)[0], 3.0), 1.0, 0.0) if right_half else 1.0
    )
    L = where * plate.load * ufl.TestFunction(plate.V)[1] * ufl.dx
    return plate.design(dnt.Compliance(plate.state((a, L)), weights=[weight]))


def projected(eta=0.5, beta=2.0):
    return Plate().design(projection=dnt.HeavisideProjection(beta, eta))


def held_at(x):
    plate = Plate()
    dofs = fem.locate_dofs_geometrical(plate.V, lambda p: np.isclose(p[0], x))
    bcs = [fem.dirichletbc(np.zeros(2), dofs, plate.V)]
    return plate.design(dnt.Compliance(plate.state(bcs=bcs)))


def few(x):
    return x[0] < 1.0


def some(x):
    return x[0] > 5.0


OTHERS = {
    "another volume fraction": (lambda: Plate().design(), lambda: Plate().design(volume_fraction=0.3)),
    "a volume fraction that differs by 0.001": (
        lambda: Plate().design(),
        lambda: Plate().design(volume_fraction=0.501),
    ),
    "another constrain": (lambda: Plate().design(constrain="design"), lambda: Plate().design()),
    "another bound of a constraint": (with_limit, lambda: with_limit(3e3)),
    "a constraint added": (lambda: Plate().design(), with_limit),
    "a constraint removed": (with_limit, lambda: Plate().design()),
    "a constraint twice": (with_limit, lambda: with_limit(number=2)),
    "another radius": (lambda: Plate().design(), lambda: Plate().design(radius=2.3)),
    "no filter": (lambda: Plate().design(), lambda: Plate().design(filter=None)),
    "another kind of filter": (lambda: Plate().design(), helmholtz),
    "a projection": (lambda: Plate().design(), projected),
    "another eta": (projected, lambda: projected(0.4)),
    "another beta": (projected, lambda: projected(beta=8.0)),
    "solid cells": (lambda: filtered(), lambda: filtered(solid=few)),
    "other solid cells": (lambda: filtered(solid=few), lambda: filtered(solid=some)),
    "void instead of solid cells": (lambda: filtered(solid=few), lambda: filtered(void=few)),
    "another load": (loaded, lambda: loaded(-2.0)),
    "a load elsewhere": (loaded, lambda: loaded(right_half=True)),
    "another nu": (loaded, lambda: loaded(nu=0.2)),
    "another penalty": (loaded, lambda: loaded(penalty=2.0)),
    "another weight": (loaded, lambda: loaded(weight=2.0)),
    "other supports": (lambda: held_at(0.0), lambda: held_at(6.0)),
    "another equation": (lambda: Plate().design(), lambda: Plane(rectangle()).design()),
    "another mesh of as many cells": (lambda: Plate().design(), lambda: Plate(rectangle(4, 6)).design()),
    "another size of the cells": (lambda: Plate().design(), lambda: stretched()),
    "symmetry": (lambda: filtered(), lambda: filtered(symmetry=[mirror()])),
}


def stretched():
    domain = rectangle()
    domain.geometry.x[:, 1] *= 1.1
    return Plate(domain).design()


def mirror():
    from dolfinx_neural_topo.density import SymmetryPlane

    return SymmetryPlane((6.0, 0.0), (1.0, 0.0))


def other_problem(first, second):
    return run(second(), written(first), evaluations=8)


for name, (first, second) in OTHERS.items():
    t.refuse(f"the checkpoint of {name}", "belongs|another", lambda a=first, b=second: other_problem(a, b))


def other_method(method):
    return run(Plate().design(), written(), method, evaluations=8)


t.refuse("the checkpoint of another method", "belongs|another", lambda: other_method(dnt.OC()))
t.accept(
    "the checkpoint of other options of the method",
    lambda: right(other_method(dnt.MMA(move=0.1)).evaluations == 8, "evaluations"),
)
t.refuse("the checkpoint of a run with continuation", "belongs|another|continuation", lambda: other_stages())


def other_stages():
    """What a schedule has made of the problem belongs to it, what it made of it before does not."""

    def go(path, stages, evaluations):
        projection = dnt.HeavisideProjection(1.0)
        continuation = Continuation(projection, stages, attribute="beta")
        return run(
            Plate().design(projection=projection), path, evaluations=evaluations, continuation=continuation
        )

    path = folder() / "run.npz"
    go(path, [(0, 1.0), (4, 2.0)], 6)
    go(path, [(0, 1.0), (3, 5.0), (5, 2.0)], 7)
    return go(path, [(0, 1.0), (4, 5.0)], 8)


def network(seed, features=8):
    return dnt.NeuralDesign(
        Plate().design(), dnt.FourierMLP(2, 2.0, features=features, hidden=(8,), seed=seed)
    )


def other_network(again, **options):
    path = folder() / "run.npz"
    run(network(0), path, dnt.LBFGS())
    return run(again(), path, dnt.LBFGS(), evaluations=8)


t.refuse(
    "the checkpoint of a network of another size",
    "belongs|another",
    lambda: other_network(lambda: network(0, 9)),
)


def resumed():
    """A run that was cut in two ends where one that was not does."""
    path = written()
    close(
        run(Plate().design(), path, evaluations=12).objective,
        minimize(Plate().design(), evaluations=12).objective,
        "resumed",
    )


t.accept("a run cut in two", resumed)
