"""Where a structure is loaded and supported, and whether given cells are there to carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import ufl
from dolfinx import fem, la
from numpy.typing import NDArray

from dolfinx_neural_topo._communication import max_replicated, sum_replicated
from dolfinx_neural_topo._dolfinx import geometry_nodes
from dolfinx_neural_topo.errors import agree
from dolfinx_neural_topo.physics.state import StateProblem

Bools = NDArray[np.bool_]

_ZERO = 1e-12  # of the largest nodal force: rounding
_SAME = 1e-9  # of the spread of all prescribed values: rounding
_CARRIES = 0.1  # of what material does: void that does so much needs no material beside it


class Attachment:
    """Nodes of a state problem that carry a load, and nodes that are held.

    Loaded are nodes with a nodal load, or with a part of a load given on facets, in a direction that no
    support takes. Loads on cells (weight, sources of heat) act wherever there is material and are left out,
    and so are nodal loads on more than half of all nodes. Where void carries too (air carries sound, and the
    weaker of two materials forces), no load needs material, and none is noted.

    Attributes:
        comm: Communicator.
        loaded: True at loaded nodes of this rank, ghosts included.
        supported: True at nodes with a Dirichlet condition, likewise.
        has_supports: Whether there is any such node on any rank.
        void_carries: Whether the equation has more than a tenth of its size where the density is 0.

    Args:
        state: State problem.

    Note: Collective.
    """

    def __init__(self, state: StateProblem):
        self._state, self.comm = state, state.comm
        dofmap = state.V.dofmap
        self._map, self._nodes = dofmap.index_map, dofmap.list
        self._cells = state.rho.function_space.dofmap.list[: state.num_owned_cells, 0]
        num_local = self._map.size_local + self._map.num_ghosts
        fixed = np.zeros(num_local * dofmap.index_map_bs, dtype=bool)
        for bc in state.bcs:
            fixed[bc.dof_indices()[0]] = True
        self.loaded = np.zeros(num_local, dtype=bool)
        self.void_carries = _void_carries(state)
        for load in () if self.void_carries else _nodal_forces(state):
            self.loaded |= self._acted_on(np.where(fixed, 0.0, np.abs(load)))
        self.supported: Bools = np.any(fixed.reshape(num_local, -1), axis=1)
        self.has_supports = self.any_of(self.supported)
        self._values = _prescribed(state, fixed)
        self._spread = self._spread_of(self.supported)
        self._values_act_alone = bool(self._spread.any()) and not (self.void_carries or _is_forced(state))

    def _acted_on(self, force: NDArray[np.float64]) -> Bools:
        """Return the nodes on which one load acts, none if it acts everywhere. Note: Collective."""
        largest = max_replicated(self.comm, force.max(initial=0.0))
        loaded: Bools = np.any((force > _ZERO * largest).reshape(len(self.loaded), -1), axis=1)
        count = sum_replicated(self.comm, float(loaded[: self._map.size_local].sum()))
        return loaded & (count <= 0.5 * self._map.size_global)

    def touched(self, cells: Bools) -> Bools:
        """Return which nodes of this rank, ghosts included, belong to one of the given cells of any rank.

        Args:
            cells: Owned values in the order of DG0, bool, shape (num_owned_cells,).

        Note: Collective.
        """
        marks = la.vector(self._map, 1)
        marks.array[self._nodes[: len(cells)][cells[self._cells]].reshape(-1)] = 1.0
        marks.scatter_reverse(la.InsertMode.add)
        marks.scatter_forward()
        return marks.array > 0.0

    def cells_at(self, nodes: Bools) -> Bools:
        """Return which owned cells, in the order of DG0, have one of the given nodes."""
        near = np.empty(len(self._cells), dtype=bool)
        near[self._cells] = nodes[self._nodes[: len(near)]].any(axis=1)
        return near

    def unheld(self, cells: Bools) -> Bools:
        """Return which loaded nodes of this rank belong to none of the given cells. Note: Collective."""
        return self.loaded & ~self.touched(cells)

    def carries(self, cells: Bools) -> bool:
        """Return whether cells hold every load, and rest on a support if there is one.

        Where nothing acts but values at supports (two temperatures), cells must rest on different ones.

        Note: Collective.
        """
        if self.void_carries:
            return True
        touched = self.touched(cells)
        held = not self.any_of(self.loaded & ~touched)
        rests = not self.has_supports or self.any_of(self.supported & touched)
        if not self._values_act_alone:
            return held and rests
        spread = self._spread_of(self.supported & touched)
        return held and rests and bool(np.any(spread > _SAME * self._spread))

    def _spread_of(self, nodes: Bools) -> NDArray[np.float64]:
        """Return how far the values prescribed at nodes differ, for each component. Note: Collective."""
        low, high = self._values[0][nodes], self._values[1][nodes]
        ends = np.array([-low.min(axis=0, initial=np.inf), high.max(axis=0, initial=-np.inf)])
        return np.maximum(max_replicated(self.comm, ends).sum(axis=0), 0.0)

    def require(self, cells: Bools, what: str) -> None:
        """Refuse loads where none of the given cells can carry them.

        Args:
            cells: As for `touched`.
            what: Beginning of the message.

        Raises:
            InputError: There is one; the message names its place.

        Note: Collective.
        """
        missing = np.flatnonzero(self.unheld(cells)[: self._map.size_local])
        problem = None
        if len(missing):
            place = ", ".join(f"{x:.6g}" for x in self._place(int(missing[0])))
            problem = (
                f"{what}, but a load acts at ({place}) where all cells are passive void "
                f"({len(missing)} such nodes); way out: make cells there design cells or solid"
            )
        agree(self.comm, problem)

    def _place(self, node: int) -> NDArray[np.float64]:
        """Return the position of a node; in mixed spaces, where nodes have none, that of a cell beside it."""
        V, mesh = self._state.V, self._state.mesh
        if V.num_sub_spaces == 0 or V.dofmap.index_map_bs > 1:
            return V.tabulate_dof_coordinates()[node][: mesh.geometry.dim]
        cell = int(np.flatnonzero((self._nodes == node).any(axis=1))[0])
        return mesh.geometry.x[geometry_nodes(mesh)[cell]].mean(axis=0)[: mesh.geometry.dim]

    def any_of(self, nodes: Bools) -> bool:
        """Return whether any of the nodes is marked, on any rank. Note: Collective."""
        return bool(max_replicated(self.comm, float(nodes.any())) > 0.0)


class Attachments:
    """Loads and supports of all state problems of a functional; of none where it names none.

    Args:
        problems: State problems on the mesh of the density.

    Attributes:
        void_carries: Whether void carries in all of them, so that material need not hang together.

    Note: Collective, as are all methods.
    """

    def __init__(self, problems: Sequence[StateProblem]):
        self._parts = [Attachment(problem) for problem in problems]
        self.void_carries = bool(problems) and all(part.void_carries for part in self._parts)

    def carries(self, cells: Bools) -> bool:
        """Return whether cells hold every load, and rest on a support if there is one."""
        return all([part.carries(cells) for part in self._parts])

    def require(self, cells: Bools, what: str) -> None:
        """Refuse loads that none of the given cells can carry; see `Attachment.require`."""
        for part in self._parts:
            part.require(cells, what)

    def missing(self, cells: Bools) -> Bools:
        """Return the cells around loaded nodes that none of the given cells holds."""
        return self._union(cells, lambda part: part.unheld(cells))

    def beside(self, cells: Bools) -> Bools:
        """Return the cells that share a node with one of the given cells, these included."""
        return self._union(cells, lambda part: part.touched(cells))

    def holding(self, cells: Bools) -> Bools:
        """Return those of the given cells that share a node with a load."""
        return cells & self._union(cells, lambda part: part.loaded)

    def loads_alone(self, cells: Bools, others: Bools) -> bool:
        """Return whether cells hold a load that the other cells do not."""
        alone = [part.loaded & part.touched(cells) & ~part.touched(others) for part in self._parts]
        return any([part.any_of(nodes) for part, nodes in zip(self._parts, alone, strict=True)])

    def _union(self, cells: Bools, nodes: Callable[[Attachment], Bools]) -> Bools:
        found = np.zeros(len(cells), dtype=bool)
        for part in self._parts:
            found |= part.cells_at(nodes(part))
        return found


def _nodal_forces(state: StateProblem) -> Iterator[NDArray[np.float64]]:
    """Yield forces of nodal loads and loads on facets, on local degrees of freedom. Note: Collective."""
    for nodal in state.nodal_loads:
        if nodal is not None:
            yield nodal.x.array
    equation = state.equation
    forms = equation.loads if equation.residual is None else [equation.residual]
    for form in forms:
        integrals = [] if form is None else [i for i in form.integrals() if _is_load(i, equation.states)]
        if integrals:
            yield _assembled(state, ufl.Form(integrals))


def _assembled(state: StateProblem, form: ufl.Form) -> NDArray[np.float64]:
    """Return a linear form on local degrees of freedom. Note: Collective."""
    force = fem.Function(state.V)
    fem.assemble_vector(force.x.array, state.compile(form))
    force.x.scatter_reverse(la.InsertMode.add)
    force.x.scatter_forward()
    return force.x.array


def _is_forced(state: StateProblem) -> bool:
    """Tell whether anything acts beside values prescribed at supports. Note: Collective."""
    equation = state.equation
    arrays = [load.x.array for load in state.nodal_loads if load is not None]
    held = [u.x.array.copy() for u in equation.states]
    try:
        for u in equation.states:  # what is left of a residual then is the load
            u.x.array[:] = 0.0
        for form in equation.loads if equation.residual is None else [equation.residual]:
            if form is not None:
                arrays.append(_assembled(state, form))
    finally:
        for u, values in zip(equation.states, held, strict=True):
            u.x.array[:] = values
    quiet = all(not values.any() for values in arrays)  # one that is not finite is not quiet
    return bool(max_replicated(state.comm, float(not quiet)) > 0.0)


def _prescribed(state: StateProblem, fixed: Bools) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return prescribed values, shape (nodes, components), with inf and -inf where there is none."""
    values = np.zeros(len(fixed))
    for bc in state.bcs:
        bc.set(values, None, 1.0)
    shape = (-1, state.V.dofmap.index_map_bs)
    low, high = np.where(fixed, values, np.inf), np.where(fixed, values, -np.inf)
    return low.reshape(shape), high.reshape(shape)


def _void_carries(state: StateProblem) -> bool:
    """Compare what the equation does inside void and inside material, on random values. Note: Collective."""
    values, form = state.rho.x.array, state.equation.a
    inside = [integral for integral in form.integrals() if integral.integral_type() == "cell"]
    if state.rho not in ufl.Form(inside).coefficients():
        return True
    given, force = fem.Function(state.V), fem.Function(state.V)
    owned = state.V.dofmap.index_map.size_local * state.V.dofmap.index_map_bs
    given.x.array[:owned] = np.random.default_rng(state.comm.rank).uniform(-1.0, 1.0, owned)
    given.x.scatter_forward()
    action = state.compile(ufl.action(ufl.Form(inside), given))

    def size(density: float) -> float:
        values[:], force.x.array[:] = density, 0.0
        fem.assemble_vector(force.x.array, action)
        force.x.scatter_reverse(la.InsertMode.add)
        return float(sum_replicated(state.comm, force.x.array[:owned] @ force.x.array[:owned]))

    held = values.copy()
    try:
        void, material = size(0.0), size(1.0)
    finally:
        values[:] = held
    return void > _CARRIES**2 * material


def _is_load(integral: ufl.Integral, states: list[fem.Function]) -> bool:
    """Tell whether an integral is one over facets that does not depend on a state."""
    on_facets = integral.integral_type() != "cell"
    return on_facets and not any(u in ufl.Form([integral]).coefficients() for u in states)
