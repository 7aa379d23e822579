"""The listed tasks, and any other size of their families, by name."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Callable, Iterable

from dolfinx_neural_topo.errors import InputError, checked
from dolfinx_neural_topo.tasks import beams, bridges, buildings, other, solids
from dolfinx_neural_topo.tasks.sketch import Task

# The 116 tasks of Hoyer, Sohl-Dickstein and Greydanus (2019), in the order of their table.
_PAPER_ROWS = """
mbb_beam 96x32_0.5 192x64_0.4 384x128_0.3 192x32_0.5 384x64_0.4
cantilever_beam_full 96x32_0.4 192x64_0.3 384x128_0.2 384x128_0.15
cantilever_beam_two_point 64x48_0.4 128x96_0.3 256x192_0.2 256x192_0.15
pure_bending_moment 32x64_0.15 64x128_0.125 128x256_0.1
ground_structure 64x64_0.12 128x128_0.1 256x256_0.07 256x256_0.05
michell_centered_both 32x64_0.12 64x128_0.12 128x256_0.12 128x256_0.06
michell_centered_below 64x64_0.12 128x128_0.12 256x256_0.12 256x256_0.06
l_shape_0.2 64x64_0.4 128x128_0.3 256x256_0.2
l_shape_0.4 64x64_0.4 128x128_0.3 256x256_0.2
crane 64x64_0.3 128x128_0.2 256x256_0.15 256x256_0.1
center_support 64x64_0.15 128x128_0.1 256x256_0.1 256x256_0.05
column 32x128_0.3 64x256_0.3 128x512_0.1 128x512_0.3 128x512_0.5
roof 64x64_0.2 128x128_0.15 256x256_0.4 256x256_0.2 256x256_0.1
causeway_bridge_top 64x64_0.3 128x128_0.2 256x256_0.1 128x64_0.3 256x128_0.2
causeway_bridge_middle 64x64_0.12 128x128_0.1 256x256_0.08
causeway_bridge_low 64x64_0.12 128x128_0.1 256x256_0.08
two_level_bridge 64x64_0.2 128x128_0.16 256x256_0.12
free_suspended_bridge 64x64_0.15 128x128_0.1 256x256_0.075 256x256_0.05
anchored_suspended_bridge 64x64_0.15 128x128_0.1 256x256_0.075 256x256_0.05
canyon_bridge 64x64_0.16 128x128_0.12 256x256_0.1 256x256_0.05
thin_support_bridge 64x64_0.3 128x128_0.2 256x256_0.15 256x256_0.1
drawbridge 64x64_0.2 128x128_0.15 256x256_0.1
hoop 32x64_0.25 64x128_0.2 128x256_0.15
dam 64x64_0.2 128x128_0.15 256x256_0.05 256x256_0.1 256x256_0.2
ramp 64x64_0.3 128x128_0.2 256x256_0.2 256x256_0.1
staircase 64x64_0.3 128x128_0.2 256x256_0.15 128x512_0.15
staggered_points 64x64_0.3 128x128_0.3 256x256_0.3 256x256_0.5 64x128_0.3
staggered_points 128x256_0.3 32x128_0.3 64x256_0.3 128x512_0.3 128x512_0.15
multistory_building 32x64_0.5 64x128_0.4 128x256_0.3 128x512_0.25 128x512_0.2
"""

# What the name of a listed task does not say, where it differs from the family's default.
_PARAMETERS: dict[str, dict[str, int]] = {
    "staircase_128x512_0.15": {"storeys": 6},
    "staggered_points_128x512_0.15": {"interval": 32},
    "multistory_building_128x512_0.25": {"interval": 64},
}

_OTHER_ROWS = """
cantilever_3d 32x16x16_0.12 64x32x32_0.12
mbb_beam_3d 32x16x16_0.2 64x32x32_0.2
bridge_3d 32x16x16_0.15 64x32x32_0.15
torsion_3d 32x16x16_0.1 64x32x32_0.1
heat_sink 64x64_0.4 128x128_0.4
mechanism_inverter 80x40_0.3 160x80_0.3
pipe_bend 64x64_0.25 128x128_0.25
double_pipe 64x64_0.333 96x64_0.333
"""


def _names(rows: str) -> tuple[str, ...]:
    split = [row.split() for row in rows.split("\n") if row]
    return tuple(f"{family}_{size}" for family, *sizes in split for size in sizes)


PAPER_TASKS = _names(_PAPER_ROWS)
"""Names of the paper's 116 tasks."""

OTHER_TASKS = _names(_OTHER_ROWS)
"""Names of the listed 3D tasks and those of other equations."""

FAMILIES: dict[str, Callable[..., Task]] = {
    builder.__name__: builder
    for builder in (
        beams.mbb_beam,
        beams.cantilever_beam_full,
        beams.cantilever_beam_two_point,
        beams.pure_bending_moment,
        beams.ground_structure,
        beams.michell_centered_both,
        beams.michell_centered_below,
        beams.l_shape,
        beams.crane,
        buildings.center_support,
        buildings.column,
        buildings.roof,
        bridges.causeway_bridge_top,
        bridges.causeway_bridge_middle,
        bridges.causeway_bridge_low,
        bridges.two_level_bridge,
        bridges.free_suspended_bridge,
        bridges.anchored_suspended_bridge,
        bridges.canyon_bridge,
        bridges.thin_support_bridge,
        bridges.drawbridge,
        buildings.hoop,
        buildings.dam,
        buildings.ramp,
        buildings.staircase,
        buildings.staggered_points,
        buildings.multistory_building,
        solids.cantilever_3d,
        solids.mbb_beam_3d,
        solids.bridge_3d,
        solids.torsion_3d,
        other.heat_sink,
        other.mechanism_inverter,
        other.pipe_bend,
        other.double_pipe,
    )
}
"""Builders by name; each takes the size in cells, `volume_fraction` and its own parameters."""

MOST_CELLS = 2**31 - 1
"""DOLFINx and PETSc number with 32 bits."""

_FORM = re.compile(
    r"(?P<family>[a-z]\w*?)(_(?P<aspect>0?\.\d+))?_(?P<size>\d{1,99}(x\d{1,99})+)_(?P<fraction>\d*\.\d+)"
)


@checked
def get_task(name: str) -> Task:
    """Return a listed task, or another size of a family.

    Args:
        name: "FAMILY_WxH_V" or "FAMILY_WxHxD_V" with the volume fraction V, such as "mbb_beam_96x32_0.5";
            "l_shape_A_WxH_V" has the aspect A as well.

    Raises:
        InputError: The name has another form, no family has that name (the nearest are listed), or the size
            does not suit the family.
    """
    form = _FORM.fullmatch(name)
    if (
        form is None
        or form["family"] not in FAMILIES
        or bool(form["aspect"]) != (form["family"] == "l_shape")
    ):
        listed = [*PAPER_TASKS, *OTHER_TASKS]
        family = max((each for each in FAMILIES if f"{name}_".startswith(f"{each}_")), key=len, default=None)
        example = next((each for each in listed if family and each.startswith(f"{family}_")), None)
        numbers = f"after {family} come numbers as in {example}; " if example else ""
        raise InputError(
            f"unknown task {name!r}; {numbers}{nearest(name, [*listed, *FAMILIES])}"
            "a name is FAMILY_WxH_VOLUMEFRACTION, see: python3 -m dolfinx_neural_topo tasks"
        )
    builder = FAMILIES[form["family"]]
    size = [int(cells) for cells in form["size"].split("x")]
    dim = 3 if builder.__module__ == solids.__name__ else 2
    if len(size) != dim:
        raise InputError(f"{form['family']} has {dim} dimensions, got the size {form['size']}")
    if math.prod(size) > MOST_CELLS:
        raise InputError(f"{name} has {math.prod(size):.3g} cells; at most {MOST_CELLS} can be numbered")
    parameters: dict[str, float] = dict(_PARAMETERS.get(name, {}))
    if form["aspect"]:
        parameters["aspect"] = float(form["aspect"])
    return builder(*size, float(form["fraction"]), **parameters)


@checked
def find_tasks(patterns: str | Iterable[str] = "*") -> list[str]:
    """Return the names of listed tasks that match any of the patterns, in the order of the lists.

    Args:
        patterns: Shell patterns ("mbb_beam*"), several ones separated by commas or as a list; a name without
            wildcards may also be another size of a family.

    Raises:
        InputError: A pattern matches nothing; the nearest names are listed.
    """
    split = patterns.split(",") if isinstance(patterns, str) else list(patterns)
    listed = [*PAPER_TASKS, *OTHER_TASKS]
    chosen: set[str] = set()
    for pattern in split:
        matches = fnmatch.filter(listed, pattern)
        if not matches and not set(pattern) & set("*?["):
            matches = [get_task(pattern).name]
        if not matches:
            raise InputError(
                f"the pattern {pattern!r} matches no task; {nearest(pattern, listed)}".rstrip("; ")
            )
        chosen.update(matches)
    return [name for name in listed if name in chosen] + sorted(chosen.difference(listed))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "nearest: a, b, c; " for an error message, or nothing if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"nearest: {', '.join(close)}; " if close else ""
