"""What a state equation reads, and whether it has changed since the last solve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag, auto
from functools import partial

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from dolfinx_neural_topo._checks import not_densities
from dolfinx_neural_topo._dolfinx import owned_cells, share
from dolfinx_neural_topo.errors import agree, same
from dolfinx_neural_topo.physics.chain import Copies
from dolfinx_neural_topo.physics.forms import Equation


class Change(IntFlag):
    """What differs from the last solve; reduced over ranks by "or", so that all ranks do the same."""

    NONE = 0
    RHO = auto()
    MATRIX = auto()  # another input of the bilinear form (or the residual)
    LOAD = auto()
    LIFTED = auto()  # Dirichlet values are not all zero (a fact, not a change)
    STATE = auto()  # somebody has written into a state
    WRITE = auto()  # the density function holds something else than the density given
    SHAPE = auto()
    NAN = auto()
    COPIED = auto()  # some coefficient is the copy of a solution (a fact, not a change)


class Snapshot:
    """Copies of arrays, to compare with what they are now.

    Args:
        read: Functions that return the arrays.
    """

    def __init__(self, read: Iterable[Callable[[], np.ndarray]]):
        self._read = list(read)
        self._kept: list[np.ndarray] | None = None

    @property
    def taken(self) -> bool:
        """Whether there are copies."""
        return self._kept is not None

    def changed(self) -> bool:
        """Return whether something differs on this rank from what was last taken."""
        if self._kept is None:
            return True
        return not all(
            np.array_equal(kept, read()) for kept, read in zip(self._kept, self._read, strict=True)
        )

    def take(self) -> None:
        """Copy all arrays as they are now."""
        if self._kept is None:
            self._kept = [np.array(read()) for read in self._read]
        else:
            for kept, read in zip(self._kept, self._read, strict=True):
                np.copyto(kept, read())

    def forget(self) -> None:
        """Count as changed until the next `take`."""
        self._kept = None


class Inputs:
    """Density, constants, coefficients, boundary values, nodal loads and mesh of an equation.

    Args:
        equation: State equation.
        rho: Its density.
        bcs: Dirichlet conditions.
        nodal_loads: Nodal loads of the load cases.
        constants: Those of its functions that nobody solves for.

    Note: Collective.
    """

    def __init__(
        self,
        equation: Equation,
        rho: fem.Function,
        bcs: Sequence[fem.DirichletBC],
        nodal_loads: Sequence[fem.Function | None],
        constants: Sequence[fem.Function],
    ):
        self.rho, self._bcs = rho, bcs
        self.comm: MPI.Comm = rho.function_space.mesh.comm
        self._held = owned_cells(rho)
        self._given = self._held
        self._bc_values = np.zeros_like(equation.states[0].x.array)
        self._constants = list(dict.fromkeys(c for form in equation.forms for c in form.constants()))
        known = [rho, *equation.states]
        forces = [partial(_array, load) for load in nodal_loads if load is not None]
        self.copies = Copies(constants)
        self._shared = [*constants, *(bc.g for bc in bcs if hasattr(bc.g, "x"))]
        share(self._shared)
        self._rho = Snapshot([lambda: self._given])
        geometry = rho.function_space.mesh.geometry
        self._mesh = Snapshot([lambda: geometry.x])
        self._matrix = Snapshot(_readers([equation.a, equation.residual, equation.b], known))
        self._load = Snapshot([self._boundary_values, *forces, *_readers(equation.loads, known)])
        self._states = Snapshot([partial(_array, u) for u in equation.states])
        self._all = (self._rho, self._mesh, self._matrix, self._load, self._states)

    def receive(self, rho: np.ndarray | None) -> Change:
        """Take a density and say what has changed since the last `take`, the same on all ranks.

        Args:
            rho: Density on owned cells, or None for what the density function holds.

        Raises:
            InputError: Another shape, or NaN or infinity.

        Note: Collective.
        """
        held = self._held
        self._given = held if rho is None else np.asarray(rho, dtype=np.float64)
        change = self._compare()
        if self.comm.size > 1:
            change = Change(self.comm.allreduce(int(change), op=MPI.BOR))
        if change & (Change.SHAPE | Change.NAN):
            agree(self.comm, self._problem())
        if change & (Change.MATRIX | Change.LOAD):
            share(self._shared)
            for constant in self._constants:
                same(self.comm, "a fem.Constant of the equation", value=np.array(constant.value))
        if change & (Change.WRITE | Change.RHO):
            held[:] = self._given
            self.rho.x.scatter_forward()
        self._given = held
        return change

    def _compare(self) -> Change:
        given, change = self._given, Change.NONE
        if given.shape != self._held.shape:
            return Change.SHAPE
        for happened, flag in (
            (not_densities("rho", given) is not None, Change.NAN),
            (self._rho.changed(), Change.RHO),
            (given is not self._held and not np.array_equal(given, self._held), Change.WRITE),
            (self._mesh.changed(), Change.MATRIX | Change.LOAD),
            (self._matrix.changed(), Change.MATRIX),
            (self._load.changed(), Change.LOAD),
            (self._states.changed(), Change.STATE),
            (self._boundary_values().any(), Change.LIFTED),
            (self.copies.look(), Change.COPIED),
        ):
            if happened:
                change |= flag
        return change

    def _problem(self) -> str | None:
        given, shape = self._given, self._held.shape
        if given.shape != shape:
            return f"rho must have shape {shape}, one number for each owned cell, got {given.shape}"
        bad = np.count_nonzero(~np.isfinite(given))
        if bad:
            return f"rho must be finite, got NaN or infinity in {bad} cells"
        return not_densities("rho", given)

    def take(self) -> None:
        """Remember the inputs as those of a finished solve."""
        for snapshot in self._all:
            snapshot.take()

    def forget(self) -> None:
        """Let everything count as changed, until the next `take`."""
        for snapshot in self._all:
            snapshot.forget()

    def take_matrix(self) -> None:
        """Remember the inputs of the matrix as those it was probed at, and let all else count as changed."""
        self.forget()
        self._mesh.take()
        self._matrix.take()

    @property
    def known(self) -> bool:
        """Whether a solve has finished since everything counted as changed."""
        return self._rho.taken

    def lifted(self) -> bool:
        """Return whether some Dirichlet value is not zero now.

        Note: Collective.
        """
        return self.comm.allreduce(bool(self._boundary_values().any()), op=MPI.LOR)

    def _boundary_values(self) -> np.ndarray:
        for bc in self._bcs:
            bc.set(self._bc_values, None, 1.0)
        return self._bc_values


def _array(function: fem.Function) -> np.ndarray:
    return function.x.array


def _value(constant: fem.Constant) -> np.ndarray:
    return constant.value


def _readers(
    forms: Iterable[ufl.Form | None], known: Iterable[fem.Function]
) -> list[Callable[[], np.ndarray]]:
    """Return readers of all coefficients and constants of forms, each once, without the known ones."""
    seen = {id(function) for function in known}
    readers: list[Callable[[], np.ndarray]] = []
    for form in forms:
        for read, things in (
            ((_array, form.coefficients()), (_value, form.constants())) if form is not None else ()
        ):
            readers += [partial(read, thing) for thing in things if id(thing) not in seen]
            seen |= {id(thing) for thing in things}
    return readers
