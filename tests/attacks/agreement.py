"""What must be the same on all ranks, and is not; further attacks on agreement are with their topics."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

import dolfinx_neural_topo as dnt
from attacks.case import SEVERAL, Topic, Wrong, close, right
from attacks.world import Plane, Plate, Quadratic, comm, folder, inf, left, minimize, nan, rectangle
from dolfinx_neural_topo import io
from dolfinx_neural_topo.density import PMeanPooling
from dolfinx_neural_topo.errors import NeuralTopoError
from dolfinx_neural_topo.optimize import Continuation, RelativeProgress

t = Topic("agreement")
ODD = comm.rank == comm.size - 1
RANKS = {"ranks": SEVERAL}


def differ(name, says, action):
    t.refuse(name, f"{says}|ranks?", action, **RANKS)


differ("Design.evaluate, gradient on one rank alone", "gradient", lambda: evaluated(ODD))
differ(
    "NeuralDesign.evaluate, gradient on one rank alone",
    "gradient",
    lambda: neural().evaluate(neural().initial(), ODD),
)
differ("evaluate_logits, gradient on one rank alone", "gradient", lambda: logits_evaluated(ODD))
differ("evaluate_density, gradient on one rank alone", "gradient", lambda: density_evaluated(ODD))


def evaluated(gradient):
    plate = Plate()
    return plate.design().evaluate(plate.full(), gradient)


def logits_evaluated(gradient):
    plate = Plate()
    return plate.design().logits.evaluate(plate.full(), gradient)


def density_evaluated(gradient):
    plate = Plate()
    return plate.design().evaluate_density(plate.full(), gradient)


def neural():
    return dnt.NeuralDesign(Plate().design(), dnt.FourierMLP(2, 2.0, features=8, hidden=(8,)))


def on_self():
    """Return a plate that this rank has for itself."""
    return Plate(rectangle(on=MPI.COMM_SELF))


differ("functional on all ranks, domain on each", "comm|mesh|domain", lambda: mixed(Plate(), on_self()))
differ("functional on each rank, domain on all", "comm|mesh|domain", lambda: mixed(on_self(), Plate()))


def mixed(one, other):
    domain = other.domain()
    return dnt.Design(one.compliance, domain, filter=dnt.ConeFilter(domain, 1.6)).evaluate(other.full())


differ("a constraint on each rank", "comm|mesh|domain", lambda: constrained(on_self()))
differ(
    "a filter on each rank", "filter", lambda: Plate().design(filter=dnt.ConeFilter(on_self().domain(), 1.6))
)
differ("conditions of a mesh of each rank", "bcs", lambda: Plate().state(bcs=on_self().bcs))
differ(
    "a transfer of a mesh of each rank",
    "transfer|mesh",
    lambda: dnt.NeuralDesign(
        Plate().design(), dnt.PixelLogits((4, 6)), dnt.PixelTransfer(dnt.CellGrid(on_self().mesh, (4, 6)))
    ),
)
differ(
    "pooling onto a mesh of each rank",
    "space|rank",
    lambda: PMeanPooling(Plate().domain(), on_self().rho.function_space),
)


def constrained(other):
    plate = Plate()
    return plate.design(constraints=[(other.compliance, 5.0)]).evaluate(plate.full())


def alone():
    """A problem on each rank for itself needs no other rank."""
    plate = on_self()
    if comm.rank == 0:
        minimize(plate.design())
    right(np.isfinite(plate.compliance.value(plate.full())), "compliance")


t.accept("a problem of one rank alone", alone, **RANKS)


def halves():
    """Two communicators at a time, with other numbers of evaluations."""
    half = comm.Split(comm.rank % 2)
    plate = Plate(rectangle(on=half))
    result = minimize(plate.design(), evaluations=2 + comm.rank % 2)
    right(result.evaluations == 2 + comm.rank % 2, "evaluations")


t.accept("two groups of ranks with runs of their own", halves, **RANKS)

differ(
    "a stop on one rank alone",
    "stop",
    lambda: minimize(Plate().design(), stop=RelativeProgress() if ODD else None),
)
differ("a continuation on one rank alone", "continuation", lambda: continued(ODD))
differ("more callbacks on one rank that end the run", "callbacks", lambda: broken(ODD))


def continued(there):
    projection = dnt.HeavisideProjection(2.0)
    stages = Continuation(projection, [(0, 2.0), (2, 4.0)], attribute="beta") if there else None
    return minimize(Plate().design(projection=projection), continuation=stages, evaluations=4)


def broken(there):
    def fail(step):
        raise dnt.InputError("callbacks: mine, on one rank")

    return minimize(Plate().design(), callbacks=[fail] if there else [])


t.accept(
    "a callback on one rank alone",
    lambda: minimize(Plate().design(), callbacks=[lambda s: None] if ODD else []),
    **RANKS,
)
differ(
    "a projection on one rank alone",
    "projection",
    lambda: Plate().design(projection=dnt.HeavisideProjection(2.0) if ODD else None).evaluate(Plate().full()),
)
differ("a filter on no but one rank", "filter", lambda: some_filter(ODD))
differ(
    "another kind of filter on one rank",
    "filter",
    lambda: kind_of_filter(dnt.HelmholtzFilter if ODD else dnt.ConeFilter),
)
differ("another functional on one rank", "functional", lambda: kind_of_functional(ODD))
differ("another power on one rank", "power", lambda: powered(2.0 if ODD else 1.0))


def some_filter(there):
    plate = Plate()
    domain = plate.domain()
    cone = dnt.ConeFilter(domain, 1.6)
    return plate.design(domain=domain, filter=cone if there else None).evaluate(plate.full())


def kind_of_filter(kind):
    plate = Plate()
    domain = plate.domain()
    return plate.design(domain=domain, filter=kind(domain, 1.6)).evaluate(plate.full())


def kind_of_functional(own):
    plate = Plate()
    domain = plate.domain()
    compliance = plate.compliance
    return dnt.Design(Quadratic(domain) if own else compliance, domain).evaluate(plate.full())


def powered(power):
    plane = Plane()
    state = plane.state()
    return dnt.ReducedFunctional(state.u * state.u * ufl.dx, state, power=power).value(plane.full())


differ("a constant of other values on the ranks", "constant|load", lambda: constant(1.0 + comm.rank))
differ(
    "a constant that is NaN on one rank", "constant|finite|load|NaN", lambda: constant(nan if ODD else 1.0)
)
differ("a penalty of other values on the ranks", "constant|penalty", lambda: penalized(3.0 + comm.rank))


def constant(value):
    plane = Plane()
    compliance = plane.compliance
    plane.load.value = value
    return compliance.value(plane.full())


def penalized(value):
    plane = Plane()
    penalty = fem.Constant(plane.mesh, value)
    from dolfinx_neural_topo.physics import heat

    k = dnt.simp(
        plane.rho, penalty=penalty, E0=fem.Constant(plane.mesh, 1.0), E_min=fem.Constant(plane.mesh, 1e-3)
    )
    return dnt.Compliance(plane.state((heat.bilinear_form(plane.V, k), plane.L))).value(plane.full())


def held_or_given():
    plane = Plane()
    return plane.compliance.value(None if ODD else plane.full())


differ("rho = None on one rank", "rho", held_or_given)


# What fails on rank 0 alone raises the same type on all ranks: the command compares them.
differ(
    "write_density where rank 0 cannot write",
    "path|write|/proc",
    lambda: io.write_density("/proc/x/a.npz", Plate().rho),
)
differ(
    "read_density of a file that is not there",
    "path|file",
    lambda: io.read_density("/no/such.npz", Plate().rho),
)
differ("read_mesh of a file that is not there", "path|file", lambda: io.read_mesh("/no/such.msh", comm))
differ(
    "write_density to paths that differ",
    "path",
    lambda: io.write_density(folder() / f"{comm.rank}.npz", Plate().rho),
)
differ(
    "write_paraview to paths that differ",
    "path",
    lambda: io.write_paraview(folder() / f"{comm.rank}.xdmf", Plate().rho),
)
differ("write_paraview of more fields on one rank", "field", lambda: fields(1 + ODD))
differ(
    "write_density of a bad path on one rank",
    "path",
    lambda: io.write_density(folder() / ("a.npz" if ODD else "a.txt"), Plate().rho),
)


def fields(number):
    plate, path = Plate(), folder() / "a.xdmf"
    both = [plate.rho, fem.Function(plate.rho.function_space, name="other")]
    return io.write_paraview(path, *both[:number])


differ("values of another length on one rank", "values", lambda: as_function())
differ("conditions of other values on one rank", "bcs", lambda: conditions(nan if ODD else 0.0))
differ("fewer conditions on one rank", "bcs", lambda: fewer_conditions())
differ("more load cases on one rank", "load", lambda: cases(1 + ODD))
differ(
    "None as weights on one rank, others elsewhere",
    "weights",
    lambda: dnt.Compliance(Plate().state(), weights=None if ODD else [2.0]),
)
differ("a state that is destroyed on one rank", "destroyed", lambda: destroyed(ODD))


def conditions(value):
    plane = Plane()
    g = fem.Function(plane.V)
    g.x.array[:] = value
    bc = fem.dirichletbc(g, fem.locate_dofs_geometrical(plane.V, left))
    state = plane.state(bcs=[bc])
    state.solve(plane.full())


def as_function():
    plate = Plate()
    return io.as_function(np.zeros(3 if ODD else plate.n), plate.rho)


def fewer_conditions():
    plate = Plate()
    plate.state(bcs=[] if ODD else plate.bcs).solve()


def cases(number):
    plate = Plate()
    return dnt.Compliance(plate.state((plate.a, [plate.L] * number))).value(plate.full())


def destroyed(there):
    plane = Plane()
    state = plane.state()
    if there:
        state._destroyed = True
    state.solve(plane.full())


def recovers():
    """After a refusal on all ranks everything works as before."""
    plate = Plate()
    design = plate.design()
    expected = design.evaluate(plate.full()).value
    bad = plate.full()
    if ODD:
        bad[:] = inf
    try:
        design.evaluate(bad)
    except NeuralTopoError:
        close(design.evaluate(plate.full()).value, expected, "the value after a refusal")
        return
    raise Wrong("not refused")


t.accept("an evaluation after a refused one", recovers)
