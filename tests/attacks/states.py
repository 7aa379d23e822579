"""State problems: equations, conditions, solvers and their options, spaces, meshes."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import CELLS, Plane, Plate, box, comm, inf, left, nan, rectangle
from dolfinx_neural_topo.physics import elasticity, heat, hyperelasticity

t = Topic("states")


def solved(plane=None, rho=0.5, **options):
    """Make a state problem and solve it; return the state's integral over everything."""
    plane = plane or Plane()
    state = plane.state(**options)
    state.solve(plane.full(rho))
    return state


# --- options of solvers ---------------------------------------------------------------------------

t.values(
    "StateProblem",
    "solver",
    lambda v: solved(solver=v),
    ["magic", "", 3, dnt.MMA, "lu "],
    good="direct",
    other="amg",
)
t.values(
    "StateProblem",
    "petsc_options_prefix",
    lambda v: solved(petsc_options_prefix=v),
    ["", "heat", None, 3, "a b_", "-x_", b"heat_"],
    good="heat_",
    other="other_",
)
t.values(
    "StateProblem",
    "periodic",
    lambda v: solved(periodic=v, bcs=[]),
    ["x", (2,), (0, 0), (-1,), 1.5, None, (None,)],
)
for options, says in (
    ({"ksp_tpye": "cg"}, "ksp_tpye"),
    ({"ksp_type": "cg", "kps_rtol": 1e-9}, "kps_rtol"),
    ({"ksp_type": "quick"}, "ksp_type|quick"),
    ({"pc_type": "magic"}, "pc_type|magic"),
    ({"pc_factor_mat_solver_type": "superb"}, "solver_type|superb"),
    ({"ksp_type": "cg", "pc_type": "none", "ksp_rtol": "tight"}, "ksp_rtol|tight"),
    ({"ksp_type": "cg", "pc_type": "none", "ksp_max_it": 1}, "ksp_max_it|iterations|converge"),
    ({"-ksp_type": "cg"}, "ksp_type"),
    ({"attack_ksp_type": "cg"}, "ksp_type"),
    ({3: 4}, "option|petsc_options|3"),
    ("ksp_type cg", "petsc_options"),
):
    name = " ".join(repr(options).split())
    t.refuse(f"petsc_options = {name}", says, lambda o=options: solved(petsc_options=o))
t.refuse(
    "petsc_options differ between ranks",
    "option|rank",
    lambda: solved(petsc_options={"ksp_type": "cg", "pc_type": "none" if comm.rank else "jacobi"}),
    ranks=(2, 3),
)

ROUGH = {"ksp_type": "cg", "pc_type": "jacobi"}


def rough(**options):
    """A linear solve that was asked to be rough gives the right number, or is refused."""
    plane = Plane()
    exact = plane.compliance.value(plane.full())
    state = plane.state(petsc_options_prefix="rough_", petsc_options={**ROUGH, **options})
    close(dnt.Compliance(state).value(plane.full()), exact, "a rough solve", rel=1e-3)


for options in (
    {"ksp_rtol": 0.9},
    {"ksp_atol": 1e9},
    {"ksp_type": "richardson", "ksp_max_it": 1, "ksp_convergence_test": "skip"},
    {"ksp_type": "preonly"},
    {"ksp_norm_type": "none", "ksp_max_it": 2},
    {"ksp_type": "preonly", "pc_type": "ilu" if comm.size == 1 else "bjacobi"},
    {"ksp_rtol": 0.5, "ksp_norm_type": "preconditioned"},
):
    name = " ".join(repr(options).split())
    t.either(
        f"a linear solve with {name}",
        "residual|converge|tolerance|petsc_options",
        lambda o=options: rough(**o),
    )


def large(**options):
    """A nonlinear solve that was asked to be rough gives the right number, or is refused."""
    results = []
    for prefix, given in (("fine_", {}), ("rough_", options)):
        plate = Plate()
        u = fem.Function(plate.V)
        F = hyperelasticity.residual(u, dnt.simp(plate.rho)) - 0.002 * plate.L
        state = plate.state(F, u=u, petsc_options_prefix=prefix, petsc_options=given)
        J = dnt.ReducedFunctional(ufl.dot(state.u, state.u) * ufl.dx, state)
        results.append(J.value(plate.full(1.0)))
    close(results[1], results[0], "a rough Newton solve", rel=1e-3)


for options in (
    {"snes_rtol": 0.99},
    {"snes_type": "ksponly"},
    {"snes_atol": 1e9},
    {"snes_max_it": 1},
    {"snes_stol": 1e3},
    {"snes_convergence_test": "skip", "snes_max_it": 1},
):
    name = " ".join(repr(options).split())
    t.either(f"Newton with {name}", "residual|converge|Newton", lambda o=options: large(**o))
t.refuse("Newton, an option that nothing reads", "snes_tpye", lambda: large(snes_tpye="newtonls"))
t.refuse("Newton of an unknown type", "snes_type|newt", lambda: large(snes_type="newt"))


def scaled(make, solver, exponent):
    """Results of a scaled problem are the scaled results."""
    domain, factor = make(), 10.0**exponent
    values = []
    for E0 in (1.0, factor):
        plate = Plate(domain)
        a = elasticity.bilinear_form(plate.V, fem.Constant(domain, E0) * dnt.simp(plate.rho))
        state = plate.state((a, plate.L), solver=solver)
        values.append(dnt.Compliance(state).value(plate.full()))
    close(values[1] * factor, values[0], f"compliance at E = 1e{exponent}", rel=1e-6)


for solver, make in (("direct", rectangle), ("amg", box), ("gmg", box), ("amg", rectangle)):
    for exponent in (-20, -9, 9, 14, 20):
        where = "3D" if make is box else "2D"
        t.accept(
            f"moduli of 1e{exponent} by {solver} in {where}",
            lambda m=make, s=solver, e=exponent: scaled(m, s, e),
        )


def resized(solver, length):
    """The same in other units of length."""
    values = []
    for size in (1.0, length):
        domain = box()
        domain.geometry.x[:] *= size
        plate = Plate(domain)
        values.append(dnt.Compliance(plate.state(solver=solver)).value(plate.full()) / size**5)
    close(values[1], values[0], f"compliance at a length of {length:g}", rel=1e-6)


for length in (1e-6, 1e4):
    t.accept(f"lengths of {length:g} by amg in 3D", lambda s=length: resized("amg", s))
    t.accept(f"lengths of {length:g} by direct in 3D", lambda s=length: resized("direct", s))

# --- equations ------------------------------------------------------------------------------------

t.values(
    "StateProblem", "equation", lambda v: Plane().state(v), [3.0, (1.0, 2.0), "a == L", (nan,), lambda: 0]
)
t.refuse("no load", "load", lambda: solved_with(lambda p: (p.a, None)))
t.refuse("a load of zeros", "load", lambda: solved_with(lambda p: (p.a, 0.0 * p.L)))
t.refuse("a load that is NaN", "load|finite|NaN", lambda: turned(lambda p: p.load, nan))
t.refuse("a load that is infinite", "load|finite", lambda: turned(lambda p: p.load, inf))
t.refuse("no supports", "bcs|free|singular", lambda: solved(bcs=[]))
t.refuse("no supports in elasticity", "bcs|free|singular", lambda: solved(Plate(), bcs=[]))
t.refuse("no supports by amg", "bcs|free|singular", lambda: solved(Plate(), bcs=[], solver="amg"))
t.refuse("bcs on one rank alone", "bcs|rank", lambda: held_on_one_rank(), ranks=(2, 3))
t.values("StateProblem", "bcs", lambda v: solved(bcs=v), [None, 3, "left", [None], [left], Plane], says="bcs")
t.values("StateProblem", "u", lambda v: Plane().state(u=v), [3, "u", [None], left], says=r"\bu\b")
t.values(
    "StateProblem",
    "nodal_loads",
    lambda v: Plane().state(nodal_loads=v),
    [3, "down", [3], [left], np.ones(3)],
)
t.values(
    "StateProblem",
    "rho",
    lambda v: dnt.StateProblem((Plane().a, Plane().L), v, petsc_options_prefix="r_"),
    [
        None,
        "rho",
        0.5,
        np.full(48, 0.5),
        left,
    ],
)
t.values(
    "StateProblem",
    "form_compiler_options",
    lambda v: solved(form_compiler_options=v),
    [3, "fast", {"nope": 1}],
)
t.values("StateProblem", "jit_options", lambda v: solved(jit_options=v), [3, "fast", {"nope": 1}])


def solved_with(equation, **options):
    plane = Plane()
    state = plane.state(equation(plane), **options)
    state.solve(plane.full())
    return state


def turned(what, value):
    """A constant or boundary value that is fine at first, and not later."""
    plane = Plane()
    compliance = plane.compliance
    compliance.value(plane.full())
    what(plane).value = value
    return compliance.value(plane.full())


def boundary(value, **options):
    plane = Plane()
    g = fem.Function(plane.V)
    g.x.array[:] = value
    bc = fem.dirichletbc(g, fem.locate_dofs_geometrical(plane.V, left))
    state = plane.state(bcs=[bc], **options)
    return dnt.ReducedFunctional(state.u * ufl.dx, state).value(plane.full())


t.refuse("a boundary value that is NaN", "bcs|finite|NaN|load", lambda: boundary(nan))
t.refuse("a boundary value that is infinite", "bcs|finite|load", lambda: boundary(inf))


def on(rho_space, equation=None):
    plane = Plane()
    rho = fem.Function(fem.functionspace(plane.mesh, rho_space))
    a = heat.bilinear_form(plane.V, 1.0 + (rho if rho.ufl_shape == () else rho[0]))
    return dnt.StateProblem((a, plane.L), rho, bcs=plane.bcs, petsc_options_prefix="r_")


for space in (("DG", 1), ("Lagrange", 1), ("DG", 1, (2,)), ("CR", 1)):
    t.refuse(f"a density in {space}", r"\brho\b", lambda s=space: on(s))
t.refuse(
    "a density that the equation does not know", "rho", lambda: solved_with(lambda p: (without_rho(p), p.L))
)
t.refuse("a density on another mesh", "rho|mesh", lambda: rho_elsewhere())
t.refuse("conditions on another mesh", "bcs", lambda: Plane().state(bcs=Plane(rectangle(3, 3)).bcs))
t.refuse("conditions on another space", "bcs", lambda: Plane().state(bcs=Plate().bcs))
t.refuse("a solve after destroy", "destroyed", lambda: destroyed())


def without_rho(plane):
    u, v = ufl.TrialFunction(plane.V), ufl.TestFunction(plane.V)
    return ufl.dot(ufl.grad(u), ufl.grad(v)) * ufl.dx


def rho_elsewhere():
    plane, other = Plane(), Plane(rectangle(4, 6))
    return dnt.StateProblem((plane.a, plane.L), other.rho, bcs=plane.bcs, petsc_options_prefix="r_")


def held_on_one_rank():
    plane = Plane()
    solved(plane, bcs=plane.bcs if comm.rank else [])


def destroyed():
    plane = Plane()
    state = plane.state()
    state.destroy()
    state.destroy()
    state.solve(plane.full())


def tolerance(value):
    state = Plate(box()).state(solver="amg")
    state.rtol = value
    state.solve(np.full(state.num_owned_cells, 0.5))


t.values("state.rtol =", "rtol", tolerance, [0.0, -1.0, nan, 1.0, 2.0, "rough"], good=1e-2, other=1e-3)


def small(cell):
    """A mesh of fewer cells than ranks."""
    domain = rectangle(1, 1, cell=cell)
    plane = Plane(domain)
    given = plane.compliance.value(plane.full(1.0))
    alone = Plane(rectangle(1, 1, cell=cell, on=comm.Split(comm.rank)))
    close(given, alone.compliance.value(alone.full(1.0)), "compliance")
    design = plane.design(filter=None)
    right(np.isfinite(dnt.minimize(design, dnt.MMA(), evaluations=3, progress=False).objective), "minimize")


t.accept("one square on all ranks", lambda: small(CELLS.quadrilateral))
t.accept("two triangles on all ranks", lambda: small(CELLS.triangle))
t.accept("one cube on all ranks", lambda: cube())


def cube():
    plate = Plate(box(1, 1, 1))
    right(np.isfinite(plate.compliance.value(plate.full())), "compliance of one cube")
