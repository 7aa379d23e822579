"""The last stage: one piece of solid and void that carries its loads, checked by a solve of its own."""

import dolfinx
import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo import errors, make_buildable
from dolfinx_neural_topo.density import (
    Casting,
    ConeFilter,
    Design,
    DesignDomain,
    Extrusion,
    HeavisideProjection,
    OverhangFilter,
)
from dolfinx_neural_topo.density.cut import cut
from dolfinx_neural_topo.density.cut import made as cut_of_stages
from dolfinx_neural_topo.density.pieces import pieces
from dolfinx_neural_topo.optimize import MMA, OC, minimize
from dolfinx_neural_topo.optimize.buildable.cuts import EXCHANGES
from dolfinx_neural_topo.optimize.buildable.exchange import exchange_cells
from dolfinx_neural_topo.optimize.buildable.fields import less_is_worse
from dolfinx_neural_topo.optimize.buildable.repair import is_whole, mend
from dolfinx_neural_topo.physics import Compliance, ReducedFunctional, StateProblem, nodal_load, simp
from dolfinx_neural_topo.physics.attachment import Attachments

comm = MPI.COMM_WORLD


def bracket(
    comm,
    width=24,
    height=12,
    *,
    volume_fraction=0.4,
    loads=((24.0, 6.0),),
    compliance=True,
    triangles=False,
    **domain,
):
    """A plate held at its left edge, with forces at nodes; the state, and the design problem."""
    kind = dolfinx.mesh.CellType.triangle if triangles else dolfinx.mesh.CellType.quadrilateral
    mesh = dolfinx.mesh.create_rectangle(comm, [(0.0, 0.0), (width, height)], [width, height], kind)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1, (2,)))
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = simp(rho, penalty=3.0) * ufl.inner(ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(v))) * ufl.dx
    held = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    bcs = [fem.dirichletbc(np.zeros(2), held, V)]
    force = nodal_load(V, loads, [(0.0, -1.0)] * len(loads))
    state = StateProblem((a, None), rho, bcs=bcs, nodal_loads=force, petsc_options_prefix="bracket_")
    functional = Compliance(state)
    if not compliance:
        functional = ReducedFunctional(ufl.inner(state.u, state.u) * ufl.dx, state)
    domain = DesignDomain(rho, volume_fraction=volume_fraction, **domain)
    return Design(functional, domain, filter=ConeFilter(domain, 2.0))


@pytest.mark.parametrize("compliance", [True, False])
def test_a_uniform_start_ends_in_one_piece_of_solid_and_void(compliance):
    design = bracket(comm, compliance=compliance)
    state = design.functional.state
    built = make_buildable(design, design.domain.expand(design.initial()), evaluations=24)
    assert set(np.unique(np.concatenate(comm.allgather(built.rho)))) == {0.0, 1.0}
    assert 0.4 - 1.0 / 288 <= built.volume <= 0.4 + 1e-9
    assert (built.components, built.pieces_carry_loads, built.greyness) == (1, True, 0.0)
    assert built.value == pytest.approx(design.functional.value(built.rho), rel=1e-9)
    assert built.value <= 1.03 * built.projected
    last = (24 if compliance else 3 * 24) + 2  # one density or three, two checks
    assert last < built.evaluations <= last + 1 + EXCHANGES  # one more where a second cut was tried
    assert built.reason == ""
    assert built.summary()["min_member"] >= 1.0
    state.destroy()


def test_widths_asked_for_are_found():
    design = bracket(comm, 40, 20)
    built = make_buildable(design, design.domain.expand(design.initial()), min_member=3.0, min_gap=3.0)
    assert built.pieces_carry_loads
    assert built.min_member >= 2.5
    assert built.min_gap >= 2.5
    design.functional.state.destroy()


def test_loose_and_loaded_pieces_become_one():
    results = []
    for each in (MPI.COMM_SELF, comm):
        design = bracket(each, loads=((24.0, 6.0), (12.0, 12.0)), volume_fraction=0.25)
        domain, (x, y) = design.domain, design.domain.midpoints[:, :2].T
        density = 0.1 * x / 24.0
        density += 0.8 * ((y > 5) & (y < 7))  # the member that is held
        density += 0.7 * ((np.abs(x - 12) < 2) & (y > 10))  # carries a load of its own
        density += 0.7 * ((np.abs(x - 20) < 1) & (y < 2))  # carries nothing
        assert pieces(domain, cut(domain, density) > 0.5)[1] == 3
        attachment = Attachments([design.functional.state])
        asked = []

        def worth(whole, asked=asked, density=density):
            asked.append(whole)
            return density

        before = cut(domain, density)
        rho = mend(domain, before, density, attachment, worth=worth, width=2.0, exact_volume=False)
        assert len(asked) == 1 and is_whole(domain, asked[0], attachment)  # a severed cut is worth nothing
        labels, count = pieces(domain, rho > 0.5)
        assert count == 1
        assert attachment.carries(labels == 0)
        whole = np.zeros(domain.num_global_cells)
        whole[domain.canonical_index] = rho
        results.append(each.allreduce(whole))
        assert results[-1].sum() == 72
        design.functional.state.destroy()
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.ranks
@pytest.mark.parametrize("unstructured", [False, True])
def test_cells_change_places_where_that_pays(unstructured):
    """A beam that is too thick at its end, and hangs together by one cell, becomes a better one."""
    results = []
    for each in (MPI.COMM_SELF, comm):
        design = bracket(each, loads=((24.0, 5.0),), triangles=unstructured)
        domain, J = design.domain, design.functional
        x, y = domain.midpoints[:, :2].T
        thick = np.where(x < 14.0, 4.5, np.where(x < 15.0, 1.2, 6.5))
        rho = cut(domain, np.exp(-(((y - 5.2) / thick) ** 2) - 1e-3 * x))
        attachments = Attachments([J.state])
        assert attachments.carries(rho > 0.5)
        better, value, count = exchange_cells(domain, rho, J.value_and_gradient, attachments, evaluations=10)
        assert value < 0.8 * J.value(rho) and count <= 10
        assert J.value(better) == pytest.approx(value, rel=1e-9)
        volumes = [each.allreduce(float(domain.cell_volumes @ part)) for part in (rho, better)]
        assert volumes[1] == pytest.approx(volumes[0], abs=1.5)  # three cells
        assert volumes[1] <= domain.target_volume * (1.0 + 1e-9)
        labels, pieces_left = pieces(domain, better > 0.5)
        assert pieces_left == 1 and attachments.carries(labels == 0)
        whole = np.zeros(domain.num_global_cells)
        whole[domain.canonical_index] = better
        results.append(each.allreduce(whole))
        J.state.destroy()
    np.testing.assert_array_equal(results[0], results[1])


def test_cells_stay_where_widths_or_limits_are_asked_for(monkeypatch):
    calls = []

    def count(domain, rho, *arguments, **options):
        calls.append(rho)
        return rho, 0.0, 0

    monkeypatch.setattr("dolfinx_neural_topo.optimize.buildable.cuts.exchange_cells", count)
    design = bracket(comm)
    start = design.domain.expand(design.initial())
    make_buildable(design, start, min_member=2.0, evaluations=24)
    volume = ReducedFunctional(design.functional.state.rho / 288.0 * ufl.dx, design.functional.state)
    limited = Design(design.functional, design.domain, filter=design.filter, constraints=[(volume, 0.5)])
    make_buildable(limited, start, evaluations=24)
    assert not calls
    make_buildable(design, start, evaluations=24)
    assert len(calls) == 1
    design.functional.state.destroy()


def test_a_load_in_void_gets_its_cells():
    design = bracket(comm)
    domain = design.domain
    density = 1.0 - np.abs(domain.midpoints[:, 1] - 6.0) / 12.0 - (domain.midpoints[:, 0] > 22.0)
    attachment = Attachments([design.functional.state])
    assert not attachment.carries(cut(domain, density) > 0.5)
    rho = mend(
        domain,
        cut(domain, density),
        density,
        attachment,
        worth=lambda _: density,
        width=2.0,
        exact_volume=True,
    )
    assert attachment.carries(rho > 0.5)
    assert design.volume(rho) == pytest.approx(0.4, abs=1e-12)
    design.functional.state.destroy()


@pytest.mark.ranks
def test_cells_that_hold_loads_do_not_pay_for_those_of_another_load():
    """Cells at loads are worth little: a load in void took them from the next one, and so on (196 cells)."""
    design = bracket(comm, 96, 12, loads=[(float(x), 9.0) for x in range(1, 97)], volume_fraction=0.5)
    domain, (x, y) = design.domain, design.domain.midpoints[:, :2].T
    depth = 9.0 - y + 1e-3 * x  # below the loads
    density = np.where((y > 9.0) | ((x > 94.0) & (y > 7.0)), 0.0, 1.0 - depth / 24.0)
    attachment = Attachments([design.functional.state])
    before = cut(domain, density)
    assert not attachment.carries(before > 0.5)
    rho = mend(domain, before, density, attachment, worth=lambda _: depth, width=1.5)
    assert comm.allreduce(np.abs(rho - before).sum()) == 8  # four cells for the load, four that pay
    assert attachment.carries(rho > 0.5)
    assert pieces(domain, rho > 0.5)[1] == 1
    design.functional.state.destroy()


@pytest.mark.ranks
def test_a_diagonal_member_is_joined_at_its_corners_and_paid_for_where_it_is_thick():
    """Eight of its nine cells are pieces of their own; all but that at the load were dropped as loose."""
    design = bracket(comm, loads=((17.0, 11.0),), volume_fraction=105.4 / 288)
    domain, (x, y) = design.domain, np.floor(design.domain.midpoints[:, :2].T)
    trunk, member = x < 8, (x >= 8) & (x <= 16) & (x - y == 6)
    density = np.where(trunk | member, 1.0, 0.2 - 1e-3 * y)
    attachment = Attachments([design.functional.state])
    before = cut(domain, density)
    assert pieces(domain, before > 0.5)[1] == 9
    rho = mend(domain, before, density, attachment, worth=lambda _: 1.0 + x + 1e-2 * y, width=1.5)
    labels, count = pieces(domain, rho > 0.5)
    assert count == 1 and attachment.carries(labels == 0)
    sums = [comm.allreduce(float(rho[cells].sum())) for cells in (member, trunk, rho > 0.5)]
    assert sums == [9, 96 - 8, 105]
    design.functional.state.destroy()


@pytest.mark.ranks
def test_islands_without_end_do_not_stay():
    """There are more of them, denser than all that is beside the beam, than repair has rounds."""
    design = bracket(comm, 96, 24, volume_fraction=0.26)
    domain, (x, y) = design.domain, design.domain.midpoints[:, :2].T
    beam = np.abs(y - 6.0) < 3.0  # 576 of the 599 cells that are allowed
    island = (np.floor(x) % 2 == 0) & (np.floor(y) % 2 == 0) & (y > 10.0)
    density = np.where(beam, 1.0, np.where(island, 0.5 + 1e-3 * x, 0.1 - 1e-3 * np.abs(y - 6.0)))
    attachment = Attachments([design.functional.state])
    rho = mend(domain, cut(domain, density), density, attachment, worth=lambda _: density, width=2.0)
    labels, count = pieces(domain, rho > 0.5)
    assert count == 1 and attachment.carries(labels == 0)
    assert comm.allreduce(rho.sum()) == 599
    design.functional.state.destroy()


@pytest.mark.ranks
def test_a_piece_at_a_load_that_the_largest_one_holds_too_is_dropped():
    """It touches the largest piece by the loaded corner alone, and stayed."""
    design = bracket(comm, loads=((12.0, 6.0),), volume_fraction=0.2)
    domain, (x, y) = design.domain, design.domain.midpoints[:, :2].T
    beam = (x < 12.0) & (y > 2.0) & (y < 6.0)  # 48 of the 57 cells that are allowed
    island = (x > 12.0) & (x < 14.0) & (y > 6.0) & (y < 8.0)
    density = np.where(beam | island, 1.0, 0.1 - 1e-3 * np.abs(y - 4.0) - 1e-4 * x)
    attachment = Attachments([design.functional.state])
    before = cut(domain, density)
    assert pieces(domain, before > 0.5)[1] == 2
    rho = mend(domain, before, density, attachment, worth=lambda _: density, width=1.5)
    labels, count = pieces(domain, rho > 0.5)
    assert count == 1 and attachment.carries(labels == 0)
    assert comm.allreduce(rho.sum()) == 57
    design.functional.state.destroy()


def test_a_volume_too_small_is_said():
    design = bracket(comm, volume_fraction=0.04)
    built = make_buildable(design, design.domain.expand(design.initial()), evaluations=8)
    assert not built.pieces_carry_loads or built.components == 1
    if built.components != 1 or not built.pieces_carry_loads:
        assert "volume fraction 0.04" in built.reason
    design.functional.state.destroy()


@pytest.mark.parametrize(
    ("options", "domain", "message"),
    [
        ({}, {"void": lambda x: x[0] > 20.0}, r"load acts at \(24, 6\) where all cells are passive void"),
        ({"min_member": 1.0}, {}, "min_member must be at least 2, 2 cells of the mesh, got 1.0"),
        ({"min_gap": -1.0}, {}, "min_gap must be positive"),
        ({"min_member": 60.0}, {}, "min_member must be at most 12, the least extent of the domain, got 60"),
        ({"evaluations": 2}, {}, "evaluations must be at least 6"),
    ],
)
def test_what_cannot_be_built_is_refused(options, domain, message):
    design = bracket(comm, **domain)
    with pytest.raises(errors.InputError, match=message):
        make_buildable(design, design.domain.expand(0.4), **options)
    design.functional.state.destroy()


class Own:
    """A functional that names no state problem."""

    def __init__(self, compliance):
        self.comm, self.value = compliance.comm, compliance.value
        self.value_and_gradient = compliance.value_and_gradient


def test_sums_and_own_functionals_are_made_buildable_too():
    design = bracket(comm)
    compliance, domain = design.functional, design.domain
    start = domain.expand(design.initial())
    for functional in (2.0 * compliance, Own(compliance)):
        other = Design(functional, domain, filter=design.filter)
        built = make_buildable(other, start, evaluations=12)
        assert built.components == 1
        assert built.evaluations <= 12 + 2 + EXCHANGES  # no derivative is positive: the eroded density alone
    with pytest.raises(errors.InputError, match="acts at"):
        void = bracket(comm, void=lambda x: x[0] > 20.0)
        make_buildable(Design(1.0 * void.functional, void.domain), void.domain.expand(0.4))
    void.functional.state.destroy()
    compliance.state.destroy()


def test_what_is_no_design_and_no_density_is_refused():
    design = bracket(comm)
    half = design.domain.expand(0.5)
    for found in (np.zeros(3), "design.npz", None, 1j * half):
        with pytest.raises(
            errors.InputError, match=r"found must .*a result or one number for each owned cell"
        ):
            make_buildable(design, found)
    for found in (-half, 100.0 * half):  # logits, or per cent
        with pytest.raises(errors.InputError, match=r"found must lie in \[0, 1\]"):
            make_buildable(design, found)
    with pytest.raises(errors.InputError, match="found must be finite"):
        make_buildable(design, np.nan * half)
    with pytest.raises(
        errors.InputError, match=r"design must be a Design or a NeuralDesign, got .*Compliance"
    ):
        make_buildable(design.functional, half)
    design.functional.state.destroy()


def test_a_result_of_another_mesh_of_as_many_cells_is_refused():
    """Its densities were taken for those of this mesh; another filter or projection is right."""
    here, there = bracket(comm), bracket(comm, 12, 24, loads=((12.0, 12.0),))
    domain = here.domain
    for filter, projection in ((None, None), (ConeFilter(domain, 3.0), HeavisideProjection(4.0))):
        other = Design(here.functional, domain, filter=filter, projection=projection)
        assert make_buildable(here, minimize(other, OC(), evaluations=6), evaluations=6).components >= 1
    if comm.size == 1:  # several ranks may hold other numbers of cells
        found = minimize(there, OC(), evaluations=6)
        with pytest.raises(errors.InputError, match="found must be a result of this objective and mesh"):
            make_buildable(here, found, evaluations=6)
        assert make_buildable(here, found.rho_design, evaluations=6).rho.shape == found.rho.shape
    there.functional.state.destroy()
    here.functional.state.destroy()


def test_where_all_may_be_solid_the_cut_is():
    design = bracket(comm, volume_fraction=1.0)
    built = make_buildable(design, design.domain.expand(0.7), evaluations=6)
    assert (built.volume, built.components, built.reason) == (pytest.approx(1.0), 1, "")
    design.functional.state.destroy()


def test_a_cut_that_exceeds_a_constraint_says_so():
    design = bracket(comm)
    compliance, start = design.functional, design.domain.expand(0.4)
    free = make_buildable(design, start, evaluations=12)
    for bound, excess in ((0.1 * free.value, True), (100.0 * free.value, False)):
        limited = Design(compliance, design.domain, filter=design.filter, constraints=[(compliance, bound)])
        built = make_buildable(limited, start, evaluations=12)
        by = f"The cut exceeds constraint 1 (compliance) by {built.value / bound - 1.0:.2g} of its bound."
        assert (by in built.reason) == excess
    compliance.state.destroy()


def test_a_cut_far_worse_than_the_design_it_was_made_from_says_so():
    """Lines along the beam, which have no shear stiffness once the grey between them is gone."""
    design = bracket(comm)
    for manufacturing, worse in (([], False), ([Extrusion(design.domain, (1.0, 0.0))], True)):
        made = Design(design.functional, design.domain, filter=design.filter, manufacturing=manufacturing)
        found = minimize(made, OC(), evaluations=10)
        built = make_buildable(made, found, evaluations=12)
        assert (built.value > 1.5 * found.objective) == worse
        assert ("the design it was made from" in built.reason) == worse
    design.functional.state.destroy()


def test_less_is_not_worse_under_own_weight():
    design = bracket(comm)
    state = design.functional.state
    v, rho, third = ufl.TestFunction(state.V), state.rho, design.domain.expand(0.3)
    heavy = StateProblem(
        (state.equation.a, -1e3 * rho * v[1] * ufl.dx), rho, bcs=state.bcs, petsc_options_prefix="heavy_"
    )
    moved = ReducedFunctional(ufl.inner(state.u, state.u) * ufl.dx, state)
    assert less_is_worse(design.functional, third)
    assert not less_is_worse(Compliance(heavy), third)
    assert not less_is_worse(moved, third)
    assert not less_is_worse(-1.0 * design.functional, third)
    heavy.destroy()
    state.destroy()


@pytest.mark.parametrize(
    "stage, direction, cells",
    [(OverhangFilter, (0.0, 1.0), 12), (Casting, (0.0, 1.0), 12), (Extrusion, (1.0, 0.0), 24)],
    ids=["printed", "cast", "extruded"],
)
def test_manufacturing_leaves_the_cut_as_it_is(stage, direction, cells):
    """The volume is met to what falls with a cell: here at most the cells of a line."""
    design = bracket(comm, 24, 12, loads=((24.0, 0.0),))
    domain = design.domain
    made = Design(design.functional, domain, filter=design.filter, manufacturing=[stage(domain, direction)])
    found = minimize(made, OC(), evaluations=10)
    built = make_buildable(made, found, evaluations=12)
    assert np.array_equal(cut_of_stages(domain, built.rho, made.manufacturing), built.rho)
    assert 0.4 - cells / 288 < built.volume < 0.4 + 1e-9
    with pytest.raises(errors.InputError, match="exact_volume must be False"):
        make_buildable(made, found, exact_volume=True)
    design.functional.state.destroy()


@pytest.mark.parametrize("stage", [OverhangFilter, Casting])
def test_a_part_to_print_or_to_cast_is_about_as_good_as_its_projected_design(stage):
    """Cast by a minimum over what lies below, its cut was three times as compliant as the grey design."""
    design = bracket(comm, 32, 12, loads=((32.0, 0.0),), volume_fraction=0.5)
    domain = design.domain
    made = Design(design.functional, domain, filter=design.filter, manufacturing=[stage(domain, (0.0, 1.0))])
    found = minimize(made, MMA(), evaluations=60)
    built = make_buildable(made, found)
    assert built.components == 1 and built.pieces_carry_loads
    assert built.value < 1.2 * min(found.objective, built.projected)
    design.functional.state.destroy()


@pytest.mark.ranks
def test_what_others_rest_on_does_not_hide_what_they_are_worth():
    """Where it did, the cell on top of a column paid for what was added, whatever it was worth."""
    design = bracket(comm, loads=((13.0, 12.0),), volume_fraction=56.4 / 288)
    domain, (x, y) = design.domain, np.floor(design.domain.midpoints[:, :2].T)
    base, column = y < 1, x == 4  # one cell on the other
    leaning = (x >= 10) & (x < 12) & (y < 11) | (x == 12) & (y == 11)  # the last cell by a corner
    before = (base | column | leaning).astype(float)
    attachment = Attachments([design.functional.state])
    assert pieces(domain, before > 0.5)[1] == 2
    worth = np.where(y == 11, 10.0, np.where(column & (abs(y - 5) < 2), 0.0, 1.0))
    limits = {"width": 1.5, "manufacturing": [OverhangFilter(domain, (0.0, 1.0))]}
    limits["volume"] = float(comm.allreduce(before.sum()))
    rho = mend(domain, before, before, attachment, worth=lambda _: worth, **limits)
    assert is_whole(domain, rho, attachment)
    assert np.array_equal(cut_of_stages(domain, rho, limits["manufacturing"]), rho)
    assert rho[column & (y == 11)].all()
    assert comm.allreduce(rho.sum()) == comm.allreduce(before.sum()) == 56
    design.functional.state.destroy()


@pytest.mark.ranks
def test_lines_of_an_extruded_part_pay_as_a_whole():
    """The volume is that of 20 lines and a half; those on a diagonal meet at edges only."""
    mesh = dolfinx.mesh.create_box(comm, [(0, 0, 0), (8, 8, 3)], [8, 8, 3], dolfinx.mesh.CellType.hexahedron)
    rho = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    V = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    a = simp(rho, penalty=3.0) * ufl.inner(ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(v))) * ufl.dx
    held = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], 0.0))
    state = StateProblem(
        (a, None),
        rho,
        bcs=[fem.dirichletbc(np.zeros(3), held, V)],
        nodal_loads=nodal_load(V, [(8.0, 8.0, 0.0)], [(0.0, -1.0, 0.0)]),
        petsc_options_prefix="extruded_",
    )
    domain = DesignDomain(rho, volume_fraction=20.5 / 64)
    x, y, z = np.floor(domain.midpoints.T)
    block, diagonal = (x < 4) & (y < 4), (x == y) & (x >= 4)  # 16 and 4 lines
    density = np.where(block | diagonal, 1.0, np.where(y == x + 1, 0.5, 0.1)) + 1e-3 * z
    stages = [Extrusion(domain, (0.0, 0.0, 1.0))]
    attachment = Attachments([state])
    before = np.where(block | diagonal, 1.0, 0.0)
    assert pieces(domain, before > 0.5)[1] == 5
    worth = lambda _: 1.0 + x + y + 0.1 * z  # noqa: E731
    made = mend(domain, before, density, attachment, worth=worth, width=1.5, manufacturing=stages)
    assert is_whole(domain, made, attachment)
    assert np.array_equal(cut_of_stages(domain, made, stages), made)
    assert made[diagonal].all() and comm.allreduce(made.sum()) == 60
    state.destroy()


@pytest.mark.ranks
def test_a_strut_is_joined_at_corners_by_cells_that_can_be_printed():
    """Of the two cells at a corner the denser one lies in the air, from the void cell under the strut on."""
    hole = {"void": lambda x: np.abs(x[0] - 13.5) + np.abs(x[1] - 4.5) < 0.5}
    design = bracket(comm, loads=((20.0, 12.0),), volume_fraction=35.4 / 287, **hole)
    domain, (x, y) = design.domain, np.floor(design.domain.midpoints[:, :2].T)
    base, strut = y < 1, (x - y == 8) & (y > 0)
    density = np.where(base | strut, 1.0, np.where(x - y == 9, 0.5, np.where(x - y == 7, 0.4, 0.1)))
    attachment = Attachments([design.functional.state])
    before = cut(domain, density)
    assert pieces(domain, before > 0.5)[1] == 11
    stages = [OverhangFilter(domain, (0.0, 1.0))]
    rho = mend(domain, before, density, attachment, worth=lambda _: 24.0 - x, width=1.5, manufacturing=stages)
    assert is_whole(domain, rho, attachment)
    assert np.array_equal(cut_of_stages(domain, rho, stages), rho)
    assert rho[(x - y == 7) & (y > 5)].all() and comm.allreduce(rho.sum()) == 35
    design.functional.state.destroy()


@pytest.mark.parametrize(
    "stage, direction",
    [(OverhangFilter, (0.0, 1.0)), (Casting, (0.0, 1.0)), (Extrusion, (1.0, 0.0))],
    ids=["printed", "cast", "extruded"],
)
def test_a_cut_that_can_be_made_is_the_same_on_any_number_of_ranks(stage, direction):
    cuts = []
    for each in (MPI.COMM_SELF, comm):
        domain = bracket(each).domain
        x, y = domain.midpoints[:, :2].T
        density = 0.5 + 0.4 * np.sin(x) * np.cos(0.7 * y) + 1e-3 * x
        rho = cut(domain, density, manufacturing=[stage(domain, direction)])
        numbers = np.concatenate(each.allgather(domain.canonical_index))
        cuts.append(np.concatenate(each.allgather(rho))[np.argsort(numbers)])
        assert 0.2 * 288 < cuts[-1].sum() <= 0.4 * 288
    assert np.array_equal(*cuts)
