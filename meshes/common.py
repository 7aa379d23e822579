"""What the geometries share: a gmsh session, sizes on the command line, physical groups by name."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gmsh


def arguments(script: str, size: float) -> argparse.Namespace:
    """Parse `--size` (edge length of the cells) and `--out` (file to write, beside the script by default)."""
    parser = argparse.ArgumentParser(description="Write a .msh file with named physical groups.")
    parser.add_argument("--size", type=float, default=size, help=f"edge length of the cells (default {size})")
    parser.add_argument("--out", type=Path, default=Path(script).with_suffix(".msh"))
    return parser.parse_args()


@contextmanager
def session(out: Path, dimension: int) -> Iterator[None]:
    """Open gmsh, let the caller build a geometry, then mesh it and write the file."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.option.setNumber("General.NumThreads", 1)
    try:
        yield
        gmsh.model.mesh.generate(dimension)
        gmsh.write(str(out))
        kinds = gmsh.model.mesh.getElements(dimension)
        print(f"{out}: {sum(len(tags) for tags in kinds[1])} cells, {out.stat().st_size / 1024:.0f} KiB")
    finally:
        gmsh.finalize()


def name_group(dimension: int, entities: list[int], name: str) -> None:
    """Put entities into a physical group; an empty one is an error in the geometry."""
    if not entities:
        raise RuntimeError(f"no entity for the group {name!r}")
    gmsh.model.setPhysicalName(dimension, gmsh.model.addPhysicalGroup(dimension, entities), name)


def boundary_where(dimension: int, holds) -> list[int]:
    """Return the boundary entities whose bounding box (lower corner, upper corner) satisfies `holds`."""
    entities = gmsh.model.getEntities(dimension)
    return [tag for dim, tag in entities if holds(*gmsh.model.getBoundingBox(dim, tag))]
