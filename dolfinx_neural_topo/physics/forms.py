"""From what the user gives (forms or a residual) to the pieces a solve needs, in UFL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ufl
from dolfinx import fem
from ufl.algorithms import estimate_total_polynomial_degree, expand_derivatives
from ufl.algorithms.apply_integral_scaling import compute_integrand_scaling_factor
from ufl.algorithms.check_arities import ArityMismatch, check_form_arity
from ufl.algorithms.remove_complex_nodes import remove_complex_nodes

from dolfinx_neural_topo._checks import check_count
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.physics.chain import feeders, whole

# Exact arithmetic order is given up (vector sums), infinities and NaN are not, unlike with -ffast-math.
FAST = [
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-fassociative-math",
]


@dataclass(frozen=True)
class Equation:
    """A state equation F_i(u_i; v) = 0 for each load case i, and its linearization.

    Attributes:
        V: Space of the states.
        states: Solution of each load case.
        a: Bilinear form; for a nonlinear equation the derivative of the residual at states[0].
        loads: Linear equation: right-hand side of each load case, None where it is zero. Nonlinear: [].
        residual: Nonlinear equation: F(u; v). Linear: None.
        b: Eigenvalue problem b(u, v) = mu a(u, v), whose states are its modes: the other form. Else None.
    """

    V: fem.FunctionSpace
    states: list[fem.Function]
    a: ufl.Form
    loads: list[ufl.Form | None]
    residual: ufl.Form | None
    b: ufl.Form | None = None

    @property
    def forms(self) -> list[ufl.Form]:
        """All of its forms."""
        return [form for form in (self.a, self.residual, self.b, *self.loads) if form is not None]

    @property
    def linear(self) -> bool:
        """Whether the states depend linearly on the loads."""
        return self.residual is None

    def residual_at(self, case: int, lmbda: fem.Function) -> list[ufl.Form]:
        """Return the summands of F_i(u_i; lmbda), a number that depends on density and state.

        They stay apart, as a and L were: each may have tags of its own.
        """
        if self.residual is not None:
            return [ufl.action(self.residual, lmbda)]
        work, load = ufl.action(ufl.action(self.a, self.states[case]), lmbda), self.loads[case]
        return [work] if load is None else [work, -ufl.action(load, lmbda)]


def parse(equation: Any, rho: fem.Function, u: Any, num_nodal_loads: int) -> Equation:
    """Read a pair of forms, or a residual, into an `Equation`.

    Args:
        equation: (a, L), (a, [L, L, ...]) or a residual of rank 1; an `Equation` stays as it is.
        rho: Density.
        u: None, a function of the state, or one for each load case.
        num_nodal_loads: Number of load cases in `nodal_loads`, 0 where there are none.

    Raises:
        InputError: Not of that form, or without density or state.
    """
    if isinstance(equation, Equation):
        return equation
    given = [] if u is None else [u] if isinstance(u, fem.Function) else list(u)
    if isinstance(equation, ufl.Form):
        return _parse_residual(equation, rho, given)
    if not (isinstance(equation, (tuple, list)) and len(equation) == 2 and isinstance(equation[0], ufl.Form)):
        raise InputError(
            "equation must be (a, L), (a, [L, ...]) with one L for each load case, or a residual F in UFL "
            "with u=..., "
            f"got {_describe(equation)}"
        )
    a, right = equation
    loads = list(right) if isinstance(right, (tuple, list)) else [right] * max(1, num_nodal_loads)
    if not loads:
        raise InputError(
            "L must hold one linear form for each load case, got none; way out: None for no load"
        )
    _check_ranks(a, loads)
    if num_nodal_loads not in (0, len(loads)):
        raise InputError(
            f"nodal_loads must hold one entry for each load case, got {num_nodal_loads} for {len(loads)} "
            "load cases"
        )
    a, loads = pinned(whole(a)), [None if L is None else pinned(whole(L)) for L in loads]
    forms = [a, *filter(None, loads)]
    if not (any(rho in form.coefficients() for form in forms) or feeders(forms)):
        raise InputError(
            "equation must contain the density rho, but neither a nor L does; way out: use simp(rho) in a"
        )
    V = a.arguments()[0].ufl_function_space()
    return Equation(V, _states(V, given, len(loads)), a, loads, None)


def _parse_residual(F: ufl.Form, rho: fem.Function, given: list[fem.Function]) -> Equation:
    if len(F.arguments()) != 1:
        raise InputError(
            f"equation as a residual must have one test function, got a form with {len(F.arguments())} "
            "arguments; "
            "way out: give a pair (a, L)"
        )
    if len(given) != 1:
        raise InputError("a residual needs its state: give u=, the one fem.Function that is solved for")
    state, F = given[0], whole(F)
    coefficients = F.coefficients()
    for name, there in (
        ("density rho", rho in coefficients or feeders([F], own=given)),
        ("state u", state in coefficients),
    ):
        if not there:
            raise InputError(f"equation must contain the {name}, but the residual does not depend on it")
    V = F.arguments()[0].ufl_function_space()
    states = _states(V, given, 1)
    trial = ufl.TrialFunction(V)
    linear = state not in expand_derivatives(ufl.derivative(F, state, trial)).coefficients()
    if linear:
        try:
            a, L = ufl.system(ufl.replace(F, {state: trial}))
        except ValueError:  # steps, such as sign(u), whose derivative is zero
            linear = False
    if not linear:
        F = pinned(F)
        return Equation(V, states, ufl.derivative(F, state, trial), [], F)
    return Equation(V, states, pinned(a), [None if L.empty() else pinned(L)], None)


def _states(V: fem.FunctionSpace, given: list[fem.Function], num_cases: int) -> list[fem.Function]:
    if given and len(given) != num_cases:
        raise InputError(f"u must hold one function for each of {num_cases} load cases, got {len(given)}")
    for function in given:
        if function.function_space != V:
            raise InputError("u must live on the space of the test function, got a function on another space")
    return given or [fem.Function(V, name=f"u_{i}" if num_cases > 1 else "u") for i in range(num_cases)]


def _check_ranks(a: ufl.Form, loads: list[Any]) -> None:
    if len(a.arguments()) != 2:
        raise InputError(
            f"a must be bilinear (a test and a trial function), got {len(a.arguments())} arguments"
        )
    test, trial = (argument.ufl_function_space() for argument in a.arguments())
    if test != trial:
        raise InputError("a must have test and trial function on the same space, got two spaces")
    for i, L in enumerate(loads):
        if L is not None and not (isinstance(L, ufl.Form) and len(L.arguments()) == 1):
            raise InputError(
                f"L of load case {i} must be a linear form (one test function) or None, got {_describe(L)}"
            )
        if L is not None and L.arguments()[0].ufl_function_space() != test:
            raise InputError(f"L of load case {i} must use the test space of a, got another space")


def _describe(thing: Any) -> str:
    if isinstance(thing, ufl.Form):
        return f"a form with {len(thing.arguments())} arguments"
    return type(thing).__name__


def pinned(form: ufl.Form) -> ufl.Form:
    """Write the degree of quadrature that UFL estimates for each integral into it, where none is given.

    Derivatives take it over. Estimated anew it is another one, and then what is assembled is not the
    derivative of what is assembled: by per cents where the integrand is no polynomial, as 1 / (1 + u).

    Raises:
        InputError: A form that is not linear in its test or trial function. (UFL's error is no `Exception`:
            it passes DOLFINx's compiler on one rank, for which the others wait forever.)
    """
    parts = []
    for integral in form.integrals():
        ids = integral.subdomain_id()
        for one in ids if isinstance(ids, tuple) else (ids,):
            parts.append(integral.reconstruct(subdomain_id=one))
    kinds = [(p.ufl_domain(), p.integral_type(), p.subdomain_id(), str(p.metadata())) for p in parts]
    degrees: dict[Any, int] = {}
    for kind, part in zip(kinds, parts, strict=True):  # FFCx adds integrals of a kind before it estimates
        degrees[kind] = max(degrees.get(kind, 0), _estimated_degree(part, form))
    return ufl.Form(
        [
            part.reconstruct(metadata={"quadrature_degree": degrees[kind], **part.metadata()})
            for kind, part in zip(kinds, parts, strict=True)
        ]
    )


def _estimated_degree(integral: ufl.Integral, of: ufl.Form) -> int:
    form = remove_complex_nodes(expand_derivatives(ufl.Form([integral])))
    try:
        check_form_arity(form, of.arguments())
    except ArityMismatch as error:
        raise InputError(
            f"a form must be linear in its test and trial function, in each of its terms, got one that is "
            f"not ({error!s:.200}); way out: a residual F in a fem.Function u for what is nonlinear"
        ) from error
    degrees = [estimate_total_polynomial_degree(part.integrand()) for part in form.integrals()]
    return max(degrees, default=0) + compute_integrand_scaling_factor(integral)[1]


def default_dx(V: fem.FunctionSpace, degree: int | None = None, **options: Any) -> ufl.Measure:
    """Return dx with the quadrature degree that suits gradients in V and a density constant on each cell.

    UFL's own estimate counts rho^p as a polynomial and doubles the cost of assembly. Exact on affine cells:
    twice the degree of V on quadrilaterals and hexahedra, twice (degree - 1) on triangles and tetrahedra.

    Args:
        V: Space of the state.
        degree: Quadrature degree, to use another.
        options: Further arguments of `ufl.Measure`, such as subdomain_data.
    """
    if degree is None:
        k = V.ufl_element().embedded_superdegree
        simplex = V.mesh.topology.cell_name() in ("triangle", "tetrahedron")
        degree = 2 * (k - 1) if simplex else 2 * k
    check_count("quadrature_degree", degree, 0)
    return ufl.Measure("dx", domain=V.mesh, metadata={"quadrature_degree": degree}, **options)


def compile_form(form: ufl.Form, name: str, options: dict[str, Any]) -> fem.Form:
    """Compile a form.

    Args:
        form: The form.
        name: Of its problem, for the error.
        options: For `fem.form`.

    Raises:
        InputError: DOLFINx or UFL refuse it, or it holds functions on two meshes.

    Note: Collective.
    """
    for f in form.coefficients():
        if f.ufl_function_space().ufl_domain() != form.ufl_domains()[0]:
            raise InputError(
                f"a form of '{name}' must hold functions on one mesh, '{f}' lives on another one"
            )
    try:
        return fem.form(form, **options)
    except Exception as error:  # whatever the layers below raise, on all ranks alike
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"a form of '{name}' cannot be compiled ({type(error).__name__}: "
            f"{said:.200}); way out: one mesh, one set of tags and real numbers in all of its integrals "
            '(ufl.Measure("ds", mesh, subdomain_data=tags) in place of ufl.ds beside it)'
        ) from error
