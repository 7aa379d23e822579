"""Three-dimensional benchmarks on W x H x D unit cells: indices [i, j, k, component], z = k."""

from __future__ import annotations

from dolfinx_neural_topo.tasks.sketch import Sketch, Task, X, Y, Z


def cantilever_3d(width: int = 32, height: int = 16, depth: int = 16, volume_fraction: float = 0.12) -> Task:
    """Cantilever clamped at x = 0, a line load (1 in all) along the lower edge of its free end."""
    s = Sketch(width, height, depth)
    s.clamp(0)
    s.force[width, height, :, Y] = -1.0 / depth
    s.force[width, height, [0, depth], Y] /= 2
    return s.task("cantilever_3d", volume_fraction)


def mbb_beam_3d(width: int = 32, height: int = 16, depth: int = 16, volume_fraction: float = 0.2) -> Task:
    """A quarter of a beam on two line supports, a point load (1/4 of the whole) in the middle of its top.

    Symmetry planes at x = 0 and z = 0; the supports run along z at the lower right edge.
    """
    s = Sketch(width, height, depth)
    s.fixed[0, :, :, X] = True
    s.fixed[:, :, 0, Z] = True
    s.fixed[width, height, :, Y] = True
    s.force[0, 0, 0, Y] = -0.25
    return s.task("mbb_beam_3d", volume_fraction)


def bridge_3d(width: int = 32, height: int = 16, depth: int = 16, volume_fraction: float = 0.15) -> Task:
    """A quarter of a bridge (1/4 of a unit load) with its deck on top, standing on its ends.

    Symmetry planes at x = 0 and z = 0; clamped at the lower right edge.
    """
    s = Sketch(width, height, depth)
    s.fixed[0, :, :, X] = True
    s.fixed[:, :, 0, Z] = True
    s.clamp(width, height)
    deck = s.force[:, 0, :, Y]
    deck[...] = -0.25 / (width * depth)
    deck[[0, width], :] /= 2
    deck[:, [0, depth]] /= 2
    return s.task("bridge_3d", volume_fraction)


def torsion_3d(width: int = 32, height: int = 16, depth: int = 16, volume_fraction: float = 0.1) -> Task:
    """Bar clamped at x = 0, twisted by four tangential forces in the middle of its free end's edges.

    Their moments about the axis are equal and add up to 1.
    """
    s = Sketch(width, height, depth)
    s.clamp(0)
    middle_j, middle_k = height // 2, depth // 2
    s.force[width, 0, middle_k, Z] = 0.25 / middle_j
    s.force[width, height, middle_k, Z] = -0.25 / (height - middle_j)
    s.force[width, middle_j, 0, Y] = 0.25 / middle_k
    s.force[width, middle_j, depth, Y] = -0.25 / (depth - middle_k)
    return s.task("torsion_3d", volume_fraction)
