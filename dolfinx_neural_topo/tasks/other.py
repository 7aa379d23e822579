"""Benchmarks of other equations: heat conduction, a compliant mechanism, Stokes flow. Two-dimensional."""

from __future__ import annotations

from dataclasses import dataclass

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.tasks.sketch import Sketch, Task, Y


@dataclass(frozen=True)
class Patch:
    """Part of an edge of the domain.

    Attributes:
        edge: "left", "right", "bottom" or "top".
        start: First coordinate along the edge, in cells: x, or y upwards.
        end: Last coordinate along the edge.
        speed: Largest speed of a parabolic flow through it along the axis across the edge; positive to the
            right and upwards.
    """

    edge: str
    start: int
    end: int
    speed: float = 0.0


def heat_sink(width: int = 64, height: int = 64, volume_fraction: float = 0.4) -> Task:
    """Plate heated evenly (1 in all), cooled at the middle tenth of its left edge.

    The objective is the thermal compliance: mean temperature times heat.

    References:
        Bendsoe and Sigmund, Topology Optimization (2003), section 2.1.
    """
    s = Sketch(width, height, components=1)
    half = max(1, round(height / 20))
    middle = round(height / 2)
    s.fixed[0, middle - half : middle + half + 1] = True
    s.force[...] = 1.0 / (width * height)
    s.force[[0, width]] /= 2
    s.force[:, [0, height]] /= 2
    return s.task("heat_sink", volume_fraction, physics="heat")


def mechanism_inverter(
    width: int = 80, height: int = 40, volume_fraction: float = 0.3, *, stiffness: float = 0.1
) -> Task:
    """Upper half of a displacement inverter: pushed to the right at its left end, the right end pulls back.

    The symmetry line is the bottom edge; the upper end of the left edge is clamped. The objective is the mean
    displacement of the output to the right (negative when it inverts).

    Args:
        width: Number of cells along x.
        height: Number of cells along y.
        volume_fraction: Allowed mean density.
        stiffness: Of the springs at input and output; the modulus of the solid and the input force are 1.

    Raises:
        InputError: The stiffness is not positive.

    References:
        Sigmund, On the design of compliant mechanisms using topology optimization (1997).
    """
    if not stiffness > 0.0:
        raise InputError(f"stiffness must be positive, got {stiffness!r}")
    s = Sketch(width, height)
    s.fixed[:, height, Y] = True
    support = max(1, round(height / 20))
    s.clamp(0, slice(0, support + 1))
    port = max(1, round(height / 20))
    parameters = {
        "input": Patch("left", 0, port),
        "output": Patch("right", 0, port),
        "stiffness": stiffness,
    }
    return s.task("mechanism_inverter", volume_fraction, physics="mechanism", parameters=parameters)


def pipe_bend(width: int = 64, height: int = 64, volume_fraction: float = 0.25) -> Task:
    """Channel from left to bottom; the density is fluid, the objective dissipated power.

    References:
        Borrvall and Petersson, Topology optimization of fluids in Stokes flow (2003), section 4.2.
    """
    openings = _openings(("left", height, 0.7, 0.9, 1.0), ("bottom", width, 0.7, 0.9, -1.0))
    return _flow("pipe_bend", width, height, volume_fraction, openings)


def double_pipe(width: int = 64, height: int = 64, volume_fraction: float = 1.0 / 3.0) -> Task:
    """Two channels from left to right; the density is fluid, the objective dissipated power.

    References:
        Borrvall and Petersson, Topology optimization of fluids in Stokes flow (2003), section 4.5.
    """
    ends = ((1 / 6, 1 / 3), (2 / 3, 5 / 6))
    openings = _openings(*((edge, height, *end, 1.0) for edge in ("left", "right") for end in ends))
    return _flow("double_pipe", width, height, volume_fraction, openings)


def _openings(*given: tuple[str, int, float, float, float]) -> tuple[Patch, ...]:
    """Round openings (edge, cells of the edge, ends relative to it, speed) to cells.

    The flux through each is made that through the first, an inlet of the given speed.
    """
    for edge, cells, a, b, _ in given:
        if round(a * cells) == round(b * cells):
            raise InputError(
                f"the opening at the {edge} must span at least a cell, got {cells} cells along that edge"
            )
    patches = [Patch(edge, round(a * cells), round(b * cells), speed) for edge, cells, a, b, speed in given]
    inlet = patches[0].end - patches[0].start
    return tuple(Patch(p.edge, p.start, p.end, p.speed * inlet / (p.end - p.start)) for p in patches)


def _flow(
    category: str, width: int, height: int, volume_fraction: float, openings: tuple[Patch, ...]
) -> Task:
    return Sketch(width, height).task(
        category, volume_fraction, physics="stokes", parameters={"openings": openings}
    )
