"""Bridges of the paper: a deck under a distributed load, 1/W down at each of its W + 1 nodes."""

from __future__ import annotations

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks.sketch import Sketch, Task, X, Y


def _deck(s: Sketch, j: int) -> None:
    """Load each node of row j by 1/W downwards."""
    s.force[:, j, Y] = -1.0 / s.shape[0]


def _causeway_bridge(width: int, height: int, volume_fraction: float, level: str, deck: float) -> Task:
    """Bridge on piers between mirrored neighbours, its deck at `deck` of the height."""
    s = Sketch(width, height)
    s.fixed[[0, width], :, X] = True
    s.fixed[width, height, Y] = True
    _deck(s, round(height * (1 - deck)))
    return s.task(f"causeway_bridge_{level}", volume_fraction)


def causeway_bridge_top(width: int = 64, height: int = 64, volume_fraction: float = 0.3) -> Task:
    """One period of a bridge on piers, its deck on top."""
    return _causeway_bridge(width, height, volume_fraction, "top", 1.0)


def causeway_bridge_middle(width: int = 64, height: int = 64, volume_fraction: float = 0.12) -> Task:
    """One period of a bridge on piers, its deck at half the height."""
    return _causeway_bridge(width, height, volume_fraction, "middle", 0.5)


def causeway_bridge_low(width: int = 64, height: int = 64, volume_fraction: float = 0.12) -> Task:
    """One period of a bridge on piers, its deck at 0.3 of the height."""
    return _causeway_bridge(width, height, volume_fraction, "low", 0.3)


def two_level_bridge(width: int = 64, height: int = 64, volume_fraction: float = 0.2) -> Task:
    """One period of a bridge with two decks, each pulled down and along."""
    s = Sketch(width, height)
    s.fixed[[0, width], :, X] = True
    s.clamp(0, height)
    for j in (round(0.4 * height), round(0.6 * height)):
        s.force[:, j, X] = 1.0 / (2 * width)
        s.force[:, j, Y] = -1.0 / (2 * width)
    return s.task("two_level_bridge", volume_fraction)


def free_suspended_bridge(width: int = 64, height: int = 64, volume_fraction: float = 0.15) -> Task:
    """Left half of a suspension bridge that rests on its banks."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.fixed[: round(0.2 * width), height, Y] = True
    _deck(s, height)
    return s.task("free_suspended_bridge", volume_fraction)


def anchored_suspended_bridge(width: int = 64, height: int = 64, volume_fraction: float = 0.15) -> Task:
    """Left half of a suspension bridge anchored in its banks."""
    s = Sketch(width, height)
    s.fixed[width, :, X] = True
    s.clamp(slice(0, round(0.1 * width)), height)
    _deck(s, height)
    return s.task("anchored_suspended_bridge", volume_fraction)


def canyon_bridge(width: int = 64, height: int = 64, volume_fraction: float = 0.16) -> Task:
    """Right half of a bridge clamped to the wall of a canyon, deck on top."""
    s = Sketch(width, height)
    s.clamp(width)
    s.fixed[0, :, X] = True
    _deck(s, 0)
    return s.task("canyon_bridge", volume_fraction)


def thin_support_bridge(
    width: int = 64, height: int = 64, volume_fraction: float = 0.3, *, clearance: float = 0.75
) -> Task:
    """One period of a bridge on thin piers, with clearance below.

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density over the cells that are not void.
        clearance: Part of the width and of the height that stays empty below the deck, in (0, 1).

    Raises:
        InputError: `clearance` is not in (0, 1).
    """
    if not 0.0 < clearance < 1.0:
        raise InputError(f"clearance must lie in (0, 1), got {clearance!r}")
    s = Sketch(width, height)
    s.fixed[[0, width], :, X] = True
    s.fixed[:, height, Y] = True
    s.void[height - round(clearance * height) :, : round(clearance * width)] = True
    _deck(s, 0)
    return s.task("thin_support_bridge", volume_fraction)


def drawbridge(width: int = 64, height: int = 64, volume_fraction: float = 0.2) -> Task:
    """Bridge held by a wall on its left, deck at the bottom."""
    s = Sketch(width, height)
    s.clamp(0)
    _deck(s, height)
    return s.task("drawbridge", volume_fraction)
