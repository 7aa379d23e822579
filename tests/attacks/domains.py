"""Design domains, symmetry planes and grids."""

from __future__ import annotations

import numpy as np
from dolfinx import fem, mesh

import dolfinx_neural_topo as dnt
from attacks.case import Topic, close, right
from attacks.world import CELLS, Plane, Plate, box, comm, inf, nan, rectangle
from dolfinx_neural_topo.density import PMeanPooling, SymmetryPlane

t = Topic("domains")


def domain(**options):
    return Plate().domain(**options)


t.values(
    "DesignDomain",
    "volume_fraction",
    lambda v: domain(volume_fraction=v),
    [0.0, -0.5, 1.5, nan, inf, "half", None, 0.5j, (0.5, 0.5), 40],
    good=0.5,
    other=0.4,
)
t.accept("volume_fraction as a NumPy number", lambda: domain(volume_fraction=np.float32(0.5)))


def marked(values):
    plate = Plate()
    return plate.domain(solid=values(plate))


t.values(
    "DesignDomain",
    "solid",
    marked,
    [
        lambda p: np.zeros(p.n + 1, dtype=bool),
        lambda p: np.zeros(p.n),
        lambda p: (lambda x: x[0]),
        lambda p: (lambda x: None),
        lambda p: (lambda x: True),
        lambda p: "left",
        lambda p: 3,
        lambda p: (1, 2),
        lambda p: (mesh.meshtags(p.mesh, 2, np.arange(1, dtype=np.int32), np.ones(1, dtype=np.int32)),),
    ],
    good=lambda p: None,
)
t.refuse("solid by a function that raises", "solid|division", lambda: marked(lambda p: lambda x: 1 // 0))
t.refuse(
    "solid by a function that raises on one rank",
    "solid|division",
    lambda: marked(lambda p: (lambda x: 1 // 0) if comm.rank == comm.size - 1 else (lambda x: x[0] < 1.0)),
    ranks=(2, 3),
)
t.refuse(
    "solid on one rank, None on the others",
    "solid|rank",
    lambda: marked(lambda p: (lambda x: x[0] < 1.0) if comm.rank == comm.size - 1 else None),
    ranks=(2, 3),
)


def tags(of, dim, value=1):
    number = of.topology.index_map(dim).size_local if dim == 2 else 1
    cells = np.arange(number, dtype=np.int32)
    return mesh.meshtags(of, dim, cells, np.full(len(cells), value, dtype=np.int32))


def tagged(dim=2, values=1, elsewhere=False):
    plate = Plate()
    plate.mesh.topology.create_entities(1)
    other = rectangle(4, 6)
    other.topology.create_entities(1)
    return plate.domain(void=(tags(other if elsewhere else plate.mesh, dim), values))


t.refuse("void by tags of facets", "void", lambda: tagged(dim=1))
t.refuse("void by cell tags of another mesh", "void|mesh", lambda: tagged(elsewhere=True, values=7))
t.refuse("void by a tag that no cell has", "void|tag", lambda: tagged(values=99))
t.refuse("void by NaN as tag", "void|tag", lambda: tagged(values=nan))
t.refuse("void by a name as tag", "void|tag", lambda: tagged(values="hole"))
t.refuse("void in all cells", "void", lambda: tagged())
t.refuse("solid and void overlap", "solid and void", lambda: Plate().domain(solid=low, void=low))
t.refuse(
    "solid cells fill more than the volume allows", "volume_fraction", lambda: Plate().domain(solid=most)
)
t.values(
    "DesignDomain",
    "space_or_rho",
    lambda v: dnt.DesignDomain(v(), volume_fraction=0.5),
    [
        lambda: None,
        lambda: "DG0",
        lambda: Plate().V,
        lambda: fem.Function(Plate().V),
        lambda: fem.functionspace(rectangle(), ("DG", 1)),
        lambda: fem.functionspace(rectangle(), ("DG", 0, (2,))),
        rectangle,
        lambda: mesh.create_unit_interval(comm, 8),
    ],
)


def low(x):
    return x[0] < 1.0


def most(x):
    return x[0] < 5.0


def passive_by_tags():
    plate = Plate()
    cells = np.flatnonzero(plate.domain().midpoints[:, 0] < 1.0)
    order = dofs_to_cells(plate)[cells]
    some = mesh.meshtags(plate.mesh, 2, np.sort(order).astype(np.int32), np.ones(len(cells), dtype=np.int32))
    right(
        (plate.domain(solid=(some, 1)).solid == plate.domain(solid=low).solid).all(), "tags and marker differ"
    )


def dofs_to_cells(plate):
    dofs = plate.rho.function_space.dofmap.list[: plate.n, 0]
    cells = np.empty(plate.n, dtype=np.int32)
    cells[dofs] = np.arange(plate.n)
    return cells


t.accept("passive cells by tags and by a marker", passive_by_tags)

# --- symmetry planes ------------------------------------------------------------------------------


def plane(point=(0.0, 0.0), normal=(1.0, 0.0), more=()):
    plate = Plate()
    return plate.domain(symmetry=[SymmetryPlane(point, normal), *more])


for name, normal in {
    "zero": (0.0, 0.0),
    "NaN": (nan, 0.0),
    "infinite": (inf, 0.0),
    "of one component": (1.0,),
    "of four components": (1.0, 0.0, 0.0, 0.0),
    "text": "x",
    "None": None,
    "complex": (1j, 0.0),
    "out of the plane of a 2D mesh": (0.0, 0.0, 1.0),
}.items():
    t.refuse(f"symmetry plane whose normal is {name}", "normal|symmetry", lambda n=normal: plane(normal=n))
    t.refuse(
        f"symmetry plane whose normal is {name} on one rank",
        "normal|symmetry",
        lambda n=normal: plane(normal=n if comm.rank == comm.size - 1 else (1.0, 0.0)),
        ranks=(2, 3),
    )
for name, point in {
    "NaN": (nan, 0.0),
    "infinite": (inf, 0.0),
    "away from the mesh": (-3.0, 0.0),
    "a little away from the mesh": (-0.1, 0.0),
    "inside the mesh": (3.0, 0.0),
    "text": "left",
    "of one component": (0.0,),
}.items():
    t.refuse(f"symmetry plane whose point is {name}", "point|plane|symmetry", lambda p=point: plane(point=p))
t.refuse(
    "symmetry planes that differ between ranks",
    "symmetry|plane|rank",
    lambda: plane(point=(6.0, 0.0) if comm.rank == comm.size - 1 else (0.0, 0.0)),
    ranks=(2, 3),
)
t.refuse(
    "a symmetry plane on one rank alone",
    "symmetry|plane|rank",
    lambda: domain(symmetry=[SymmetryPlane((0.0, 0.0), (1.0, 0.0))] if comm.rank == comm.size - 1 else []),
    ranks=(2, 3),
)
t.refuse(
    "two symmetry planes at 45 degrees", "perpendicular", lambda: plane(more=[SymmetryPlane((0, 0), (1, 1))])
)
t.refuse(
    "the same symmetry plane twice",
    "perpendicular|twice",
    lambda: plane(more=[SymmetryPlane((0, 0), (1, 0))]),
)
t.refuse(
    "two parallel symmetry planes",
    "perpendicular|parallel",
    lambda: plane(more=[SymmetryPlane((6, 0), (1, 0))]),
)
t.refuse("symmetry that is no sequence", "symmetry", lambda: domain(symmetry=SymmetryPlane((0, 0), (1, 0))))
t.refuse("symmetry as a name", "symmetry", lambda: domain(symmetry="left"))
t.refuse("symmetry as pairs", "symmetry", lambda: domain(symmetry=[((0, 0), (1, 0))]))


def doubled():
    plate = Plate()
    one = plate.design().evaluate(plate.full()).value
    half = plate.design(domain=plate.domain(symmetry=[SymmetryPlane((6.0, 1.0), (-5.0, 0.0))]))
    close(half.evaluate(plate.full()).value, 2.0 * one, "objective of the whole")


t.accept("a symmetry plane at the right edge doubles the objective", doubled)

# --- grids ----------------------------------------------------------------------------------------

SHAPES = [
    (2.5, 6),
    (4, 6.0001),
    (0, 6),
    (-4, 6),
    (6, 4),
    (4, 6, 1),
    (4,),
    "4x6",
    None,
    (nan, 6),
    (4, "6"),
    (4, 12),
]
t.values("CellGrid", "shape", lambda v: dnt.CellGrid(rectangle(), v), SHAPES, good=(4, 6), other=(4, 3))
t.values("CellGrid", "mesh", lambda v: dnt.CellGrid(v, (4, 6)), [None, "mesh", 3])
t.refuse(
    "CellGrid on a mesh of triangles of another size", "shape", lambda: dnt.CellGrid(Plane().mesh, (5, 6))
)
t.accept("CellGrid of triangles", lambda: dnt.CellGrid(Plane().mesh, (4, 6)))
t.accept("CellGrid of a shape of NumPy integers", lambda: dnt.CellGrid(rectangle(), tuple(np.array([4, 6]))))


def sheared():
    skew = rectangle()
    skew.geometry.x[:, 0] += 0.5 * skew.geometry.x[:, 1]
    return dnt.CellGrid(skew, (4, 6))


t.refuse("CellGrid on a sheared mesh", "shape|grid|mesh", sheared)


def image(make):
    return dnt.CellGrid(rectangle(), (4, 6)).to_cells(make())


t.values(
    "CellGrid.to_cells",
    "image",
    image,
    [
        lambda: np.zeros((6, 4)),
        lambda: np.zeros(24),
        lambda: "picture",
        lambda: None,
        lambda: np.zeros((4, 6, 3)),
    ],
    good=lambda: np.zeros((4, 6)),
)
t.refuse(
    "CellGrid.to_image of too many values",
    "values",
    lambda: dnt.CellGrid(rectangle(), (4, 6)).to_image(np.zeros(99)),
)
t.refuse(
    "CellGrid.sum_cells of too many values",
    "values",
    lambda: dnt.CellGrid(rectangle(), (4, 6)).sum_cells(np.zeros(99)),
)


def pooled(coarse, penalty=3.0):
    fine = Plate().domain()
    return PMeanPooling(fine, fem.functionspace(coarse, ("DG", 0)), penalty).apply(
        np.full(fine.num_owned_cells, 0.5)
    )


t.values(
    "PMeanPooling",
    "penalty",
    lambda v: pooled(rectangle(3, 2), v),
    [0.0, -1.0, nan, inf, "3", None],
    good=3.0,
)
t.refuse("PMeanPooling onto a finer mesh", "space|coarser", lambda: pooled(rectangle(12, 8)))
t.refuse("PMeanPooling onto a mesh of another place", "space|region|mesh", lambda: pooled(moved()))
t.refuse("PMeanPooling onto a mesh of another size", "space|region|mesh", lambda: pooled(rectangle(12, 2)))
t.refuse("PMeanPooling onto a mesh of another dimension", "space|region|mesh", lambda: pooled(box()))


def moved():
    coarse = mesh.create_rectangle(comm, [[100.0, 0.0], [106.0, 4.0]], [3, 2], CELLS.quadrilateral)
    return coarse
