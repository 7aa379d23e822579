"""Beams, brackets and cranes of the paper: one load or two, a few supports.

Indices are [i, j, component]: i from the left, j from the top; a force of -1 along Y points down.
`round` rounds half to even.
"""

from __future__ import annotations

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks.sketch import Sketch, Task, X, Y


def mbb_beam(width: int = 96, height: int = 32, volume_fraction: float = 0.5) -> Task:
    """Right half of a beam on two supports, loaded at the middle of its top."""
    s = Sketch(width, height)
    s.fixed[0, :, X] = True
    s.fixed[width, height, Y] = True
    s.force[0, 0, Y] = -1.0
    return s.task("mbb_beam", volume_fraction)


def cantilever_beam_full(width: int = 96, height: int = 32, volume_fraction: float = 0.4) -> Task:
    """Cantilever clamped along its left edge, loaded at the lower right corner."""
    s = Sketch(width, height)
    s.clamp(0)
    s.force[width, height, Y] = -1.0
    return s.task("cantilever_beam_full", volume_fraction)


def cantilever_beam_two_point(width: int = 64, height: int = 48, volume_fraction: float = 0.4) -> Task:
    """Cantilever held at two nodes of its left edge, loaded in the middle of the right one."""
    s = Sketch(width, height)
    s.clamp(0, round(0.75 * height))
    s.clamp(0, round(0.25 * height))
    s.force[width, round(0.5 * height), Y] = -1.0
    return s.task("cantilever_beam_two_point", volume_fraction)


def pure_bending_moment(width: int = 32, height: int = 64, volume_fraction: float = 0.15) -> Task:
    """Left half of a beam bent by a pair of opposite forces at its end."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    for j, force in ((round(0.45 * height), -1.0), (round(0.55 * height), 1.0)):
        s.fixed[0, j, Y] = True
        s.force[0, j, X] = force
    return s.task("pure_bending_moment", volume_fraction)


def ground_structure(width: int = 64, height: int = 64, volume_fraction: float = 0.12) -> Task:
    """Left half of a structure pinned at its lower corners, loaded in the middle of each half's bottom."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.clamp(0, height)
    s.force[round(0.5 * width), height, Y] = -1.0
    return s.task("ground_structure", volume_fraction)


def michell_centered_both(width: int = 32, height: int = 64, volume_fraction: float = 0.12) -> Task:
    """Left half of a Michell structure with room above and below, loaded in the middle."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.fixed[round(0.05 * width), round(height / 2), Y] = True
    s.force[width, round(height / 2), Y] = -1.0
    return s.task("michell_centered_both", volume_fraction)


def michell_centered_below(width: int = 64, height: int = 64, volume_fraction: float = 0.12) -> Task:
    """Left half of a Michell structure with room below only, loaded in the middle of its top."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.fixed[round(0.25 * width), 0, Y] = True
    s.force[width, 0, Y] = -1.0
    return s.task("michell_centered_below", volume_fraction)


def l_shape(width: int = 64, height: int = 64, volume_fraction: float = 0.4, *, aspect: float = 0.4) -> Task:
    """L-bracket hung from the top of its left arm, loaded in the middle of its right end.

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density over the bracket.
        aspect: Width of both arms relative to the side, in (0, 1).

    Raises:
        InputError: `aspect` is not in (0, 1).
    """
    if not 0.0 < aspect < 1.0:
        raise InputError(f"aspect must lie in (0, 1), got {aspect!r}")
    s = Sketch(width, height)
    s.clamp(slice(0, round(aspect * width)), 0)
    s.void[: round((1 - aspect) * height), round(aspect * width) :] = True
    s.force[width, round((1 - aspect / 2) * height), Y] = -1.0
    return s.task(f"l_shape_{aspect:g}", volume_fraction)


def crane(width: int = 64, height: int = 64, volume_fraction: float = 0.3) -> Task:
    """Crane clamped at its foot, its jib over an empty lower right quarter."""
    s = Sketch(width, height)
    s.clamp(slice(None), height)
    s.void[round(height / 2) + 2 :, round(width / 2) :] = True
    s.force[round(0.9 * width), height + 1 + round(1 - height / 2), Y] = -1.0
    return s.task("crane", volume_fraction)
