"""Methods on designs of several fields: what works out of the box, and who refuses them, with the reason."""

import numpy as np
import pytest
import ufl
from density_cases import comm, make_domain, rectangle
from dolfinx import fem

from dolfinx_neural_topo.density import ConeFilter, DensityField, MultiDesign
from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.optimize import (
    GCMMA,
    MMA,
    OC,
    SiMPL,
    make_buildable,
    minimize,
    minimize_multistart,
)
from dolfinx_neural_topo.physics import Compliance, ReducedFunctional, StateProblem, elasticity

FRACTIONS = (0.2, 0.3)
MODULI = (1.0, 0.4)


def two_materials(mesh):
    """Compliance of a cantilever of two materials."""
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0, (2,))))
    V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
    E = 1e-3 + sum(E * rho[i] ** 3 * (1 - rho[1 - i] ** 3) for i, E in enumerate(MODULI))
    tip = mesh.geometry.x[:, 0].max(initial=0.0)
    tip = mesh.comm.allreduce(float(tip), max)
    end = ufl.conditional(ufl.gt(ufl.SpatialCoordinate(mesh)[0], tip - 1.0), 1.0, 0.0)
    L = end * ufl.dot(fem.Constant(mesh, (0.0, -1.0)), ufl.TestFunction(V)) * ufl.dx
    wall = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    bcs = [fem.dirichletbc(np.zeros(2), wall, V)]
    equation = elasticity.bilinear_form(V, E), L
    return Compliance(StateProblem(equation, rho, bcs=bcs, petsc_options_prefix="alloy_"))


def make_design(mesh, fractions=FRACTIONS, limit=False):
    compliance = two_materials(mesh)
    rho = compliance.state.rho
    domains = [make_domain(mesh, volume_fraction=v) for v in fractions]
    fields = [DensityField(domain, filter=ConeFilter(domain, 1.6)) for domain in domains]
    mass = ReducedFunctional((2.0 * rho[0] + rho[1]) / 96.0 * ufl.dx, compliance.state)
    return MultiDesign(compliance, fields, constraints=[(mass, 0.5)] if limit else ())


@pytest.mark.ranks
@pytest.mark.parametrize("method", [MMA, GCMMA])
def test_several_volumes_are_constraints_like_any_other(method):
    design = make_design(rectangle(comm))
    start = design.evaluate(design.initial(), gradient=False)
    found = minimize(design, method(), evaluations=25)
    assert found.objective < 0.8 * start.value
    assert found.best.violation < 1e-6
    volumes = [field.volume(rho) for field, rho in zip(design.fields, found.rho, strict=True)]
    assert np.all(volumes <= np.array(FRACTIONS) * (1.0 + 1e-5))
    design.functional.state.destroy()


def test_one_mass_instead_of_volumes():
    design = make_design(rectangle(comm), (1.0, 1.0), limit=True)
    np.testing.assert_array_equal(design.initial(), 0.5)
    found = minimize(design, MMA(), evaluations=25)
    assert found.best.violation < 1e-6
    (mass, bound), rho = design.constraints[0], found.rho
    assert mass.value(rho) <= bound * (1.0 + 1e-5)
    assert found.volume == 0.0  # of fields with a limit
    design.functional.state.destroy()


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    path = comm.bcast(tmp_path) / "alloy.npz"
    mesh = rectangle(comm)
    whole = minimize(make_design(mesh), MMA(), evaluations=6)
    minimize(make_design(mesh), MMA(), evaluations=3, checkpoint=path)
    again = minimize(make_design(mesh), MMA(), evaluations=6, checkpoint=path)
    assert again.evaluations == 6
    np.testing.assert_allclose(again.history.objective, whole.history.objective, rtol=1e-8)
    np.testing.assert_allclose(again.last.rho, whole.last.rho, atol=1e-7)


def test_who_needs_one_density_says_so():
    mesh = rectangle(comm)
    design = make_design(mesh)
    for method in (OC(), SiMPL()):
        with pytest.raises(InputError, match="needs exactly one constraint, the volume, got 2; use MMA"):
            minimize(design, method, evaluations=2)
    rho_design = design.evaluate(design.initial(), gradient=False).rho_design
    with pytest.raises(
        InputError, match=r"make_buildable needs a Design, .* of 2 fields: it cuts .* way out"
    ):
        make_buildable(design, rho_design)
    with pytest.raises(
        InputError, match=r"multi-start needs a Design, .* of 2 fields: its starts .* way out"
    ):
        minimize_multistart(design, two_materials)
    design.functional.state.destroy()
