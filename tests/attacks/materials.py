"""Material laws, forms of the built-in physics, and loads: values that make no material."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close
from attacks.world import Plane, Plate, box, inf, nan, rectangle
from dolfinx_neural_topo.physics import elasticity, heat, hyperelasticity, mechanism, stokes

t = Topic("materials")


def of(law, **values):
    return law(Plane().rho, **values)


NOT_NUMBERS = ("0.1", None, 1j)

for law in (dnt.simp, dnt.ramp):
    name = law.__name__
    t.values(name, "E_min", lambda v, law=law: of(law, E_min=v), [-1.0, nan, inf, -1e-9, *NOT_NUMBERS])
    t.values(name, "E0", lambda v, law=law: of(law, E0=v), [-1.0, nan, inf, *NOT_NUMBERS])
    t.values(name, "penalty", lambda v, law=law: of(law, penalty=v), [nan, inf, -1.0, *NOT_NUMBERS])
    t.values(name, "rho", law, [None, "rho", nan])

t.accept("simp of a number", lambda: close(float(dnt.simp(0.5)), 0.125, "simp(0.5)"))
t.accept("ramp of a number", lambda: close(float(dnt.ramp(1.0)), 1.0, "ramp(1.0)"))


def constants():
    """Penalty, E0 and E_min as constants of the mesh, as continuation needs them."""
    plane = Plane()
    held = [fem.Constant(plane.mesh, value) for value in (3.0, 1.0, 1e-3)]
    k = dnt.simp(plane.rho, penalty=held[0], E0=held[1], E_min=held[2])
    state = plane.state((heat.bilinear_form(plane.V, k), plane.L))
    given = dnt.Compliance(state).value(plane.full())
    close(given, plane.compliance.value(plane.full()), "the same with constants")
    return state, held, plane


t.accept("simp of constants", constants)


def constant_turned(value: float):
    state, held, plane = constants()
    held[2].value = value
    return dnt.Compliance(state).value(plane.full())


t.refuse("E_min, a constant, is NaN at a later solve", r"NaN|finite|E_min", lambda: constant_turned(nan))
t.refuse("E_min, a constant, is infinite at a later solve", "NaN|finite|E_min", lambda: constant_turned(inf))
t.values(
    "simp",
    "E_min",
    lambda v: of(dnt.simp, E_min=fem.Constant(Plane().mesh, v)),
    [-1e-9, nan, inf],
)


def negative():
    """Whoever changes a constant says what the equation is: it is solved as it stands."""
    given, expected = constant_turned(-5.0), Plane().compliance.value(Plane().full())
    close(given, expected * (1e-3 + 0.125 * (1.0 - 1e-3)) / (-5.0 + 0.125 * 6.0), "a negative modulus")


t.accept("E_min, a constant, is -5 at a later solve", negative)


def penalty_turned(value: float):
    state, held, plane = constants()
    held[0].value = value
    return dnt.Compliance(state).value(plane.full())


t.refuse(
    "the penalty, a constant, is NaN at a later solve", "NaN|finite|penalty", lambda: penalty_turned(nan)
)


def brinkman(**values):
    return stokes.brinkman(Plane().rho, **values)


t.values("brinkman", "alpha_max", lambda v: brinkman(alpha_max=v), [nan, inf, -1.0, "big"])
t.values("brinkman", "alpha_min", lambda v: brinkman(alpha_min=v), [nan, -1.0, None])
t.values("brinkman", "q", lambda v: brinkman(q=v), [0.0, -1.0, nan, "0.1"])


def elastic(**values):
    plate = Plate()
    return elasticity.bilinear_form(plate.V, dnt.simp(plate.rho), **values)


t.values("elasticity", "nu", lambda v: elastic(nu=v), [nan, inf, 1.0, -1.0, 7.0, "0.3", None, 0.3j])
t.values("elasticity, plane strain", "nu", lambda v: elastic(nu=v, model="plane_strain"), [0.5, nan, -1.0])
t.values("elasticity", "model", lambda v: elastic(model=v), ["3d", "plain_stress", 7, b"plane_stress"])
t.values("elasticity", "quadrature_degree", lambda v: elastic(quadrature_degree=v), [-1, nan, "two", 1.5])
t.values(
    "elasticity in a scalar space", "V", lambda v: elasticity.bilinear_form(v(), 1.0), [lambda: Plane().V]
)
t.values("elasticity", "V", lambda v: elasticity.bilinear_form(v, 1.0), [None, "V"])
t.refuse("heat in a vector space", r"\bV\b", lambda: heat.bilinear_form(Plate().V, 1.0))
t.values("heat", "conductivity", lambda v: heat.bilinear_form(Plane().V, v), [nan, -1.0, "copper", None])
t.values("heat source", "power", lambda v: heat.source(Plane().V, v), [nan, inf, "1 W", None])
t.values(
    "average_temperature",
    "volume",
    lambda v: heat.average_temperature(fem.Function(Plane().V), v),
    [0.0, -1.0, nan, inf, "24"],
    says="volume",
)


def neo(**values):
    plate = Plate()
    return hyperelasticity.residual(fem.Function(plate.V), dnt.simp(plate.rho), **values)


t.values("hyperelasticity", "nu", lambda v: neo(nu=v), [0.5, nan, -1.0, 2.0, "0.3"])
t.values(
    "solid_share", "sharpness", lambda v: hyperelasticity.solid_share(0.5, sharpness=v), [0.0, -1.0, nan]
)
t.values(
    "solid_share", "threshold", lambda v: hyperelasticity.solid_share(0.5, threshold=v), [-1.0, 2.0, nan]
)


def port(direction=(1.0, 0.0)):
    plate = Plate()
    return mechanism.Port(plate.V, ufl.ds(plate.mesh), direction)


t.values("Port", "direction", lambda v: port(v), [(nan, 0.0), (0.0, 0.0), (1.0,), "xy", None, (inf, 1.0)])
t.values("Port.force", "total", lambda v: port().force(v), [nan, inf, "1"])
t.values("Port.spring", "stiffness", lambda v: port().spring(v), [nan, -1.0, "stiff"])

# --- nodal loads ----------------------------------------------------------------------------------


def load(points=((6.0, 4.0),), values=((0.0, -1.0),)):
    return dnt.nodal_load(Plate().V, points, values)


t.values(
    "nodal_load",
    "points",
    lambda v: load(points=v),
    [((0.5, 0.5),), ((nan, 0.0),), ((60.0, 4.0),), ((1.0, 2.0, 3.0, 4.0),), "corner", None, ((1j, 0.0),)],
    good=((6.0, 4.0),),
    other=((6.0, 0.0),),
)
t.values(
    "nodal_load",
    "values",
    lambda v: load(values=v),
    [((nan, 0.0),), ((inf, 0.0),), (1.0, 2.0, 3.0), "down", None, ((1j, 0.0),), ()],
    good=((0.0, -1.0),),
    other=((0.0, -2.0),),
)
t.refuse(
    "nodal_load of two points on one rank, one elsewhere",
    "points|values|rank",
    lambda: load(
        *(((((6.0, 4.0), (6.0, 0.0))), ((0.0, 1.0), (1.0, 0.0))) if not Plate().mesh.comm.rank else ())
    ),
    ranks=(2, 3),
)
t.refuse("nodal_load in a space without nodes", r"\bV\b", lambda: in_space(("RT", 1)))
t.refuse("nodal_load without a space", r"\bV\b", lambda: dnt.nodal_load(None, [[0.0, 0.0]], [[0.0, 1.0]]))


def in_space(element):
    V = fem.functionspace(rectangle(cell=Plane().mesh.topology.cell_type), element)
    return dnt.nodal_load(V, [[0.0, 0.0]], [[1.0]])


def loaded():
    plate = Plate()
    force = dnt.nodal_load(plate.V, [[6.0, 4.0], [6.0, 4.0]], [[0.0, -1.0], [0.0, -1.0]])
    twice = dnt.Compliance(plate.state((plate.a, None), nodal_loads=force)).value(plate.full())
    once = dnt.nodal_load(plate.V, [[6.0, 4.0, 0.0]], [[0.0, -1.0]])
    close(
        twice, 4.0 * dnt.Compliance(plate.state((plate.a, None), nodal_loads=once)).value(), "twice the force"
    )


t.accept("a node that is named twice carries the sum", loaded)
t.accept("self-weight in 3D", lambda: self_weight(Plate(box())))
t.refuse("self_weight in 2D of three components", "weight", lambda: weight(ufl.as_vector([0.0, 0.0, -1.0])))
t.values("self_weight", "weight", lambda v: weight(v), [nan, "heavy", None, np.array([nan, 0.0])])


def self_weight(plate):
    return elasticity.self_weight(plate.V, plate.rho, ufl.as_vector([0, 0, -1.0]))


def weight(value):
    plate = Plate()
    return elasticity.self_weight(plate.V, plate.rho, value)
