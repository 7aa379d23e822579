"""Half of a bearing bracket, cut at its symmetry plane y = 0; unit height.

A foot with a bolt hole carries a block with a horizontal bore along y. Solid bushes surround bore and bolt.

Groups: cells "block" (to be designed), "bushes" (solid); facets "bolt", "bore", "symmetry" (y = 0).
"""

import gmsh
from common import arguments, boundary_where, name_group, session

LENGTH, WIDTH, HEIGHT = 2.0, 0.5, 1.0  # WIDTH is half of the whole
BORE = (1.6, 0.7, 0.14)  # x, z, radius; axis along y
BOLT = (0.3, 0.28, 0.1)  # x, y, radius; axis along z, through the foot
FOOT, SLOT, THICKNESS = 0.2, 0.6, 0.08

options = arguments(__file__, size=0.08)
with session(options.out, 3):
    occ = gmsh.model.occ

    def along_y(radius):
        return 3, occ.addCylinder(BORE[0], 0, BORE[1], 0, WIDTH, 0, radius)

    def along_z(radius):
        return 3, occ.addCylinder(BOLT[0], BOLT[1], 0, 0, 0, FOOT, radius)

    bushes = []
    for cylinder, radius in ((along_y, BORE[2]), (along_z, BOLT[2])):
        bushes += occ.cut([cylinder(radius + THICKNESS)], [cylinder(radius)])[0]
    block = (3, occ.addBox(0, 0, 0, LENGTH, WIDTH, HEIGHT))
    room_for_spanner = (3, occ.addBox(0, 0, FOOT, SLOT, WIDTH, HEIGHT))
    body, _ = occ.cut([block], [room_for_spanner, along_y(BORE[2]), along_z(BOLT[2])])
    _, pieces = occ.fragment(body, bushes)
    occ.synchronize()
    solid = sorted({tag for piece in pieces[len(body) :] for _, tag in piece})
    name_group(3, [tag for _, tag in gmsh.model.getEntities(3) if tag not in solid], "block")
    name_group(3, solid, "bushes")

    def wall(x, other, radius, axes):
        """Surfaces whose bounding box is the square around a hole of this radius."""
        i, j = axes
        expected = (x - radius, other - radius, x + radius, other + radius)
        return boundary_where(
            2,
            lambda *box: max(abs(box[k] - e) for k, e in zip((i, j, 3 + i, 3 + j), expected, strict=True))
            < 1e-3,
        )

    name_group(2, wall(*BORE, axes=(0, 2)), "bore")
    name_group(2, wall(*BOLT, axes=(0, 1)), "bolt")
    name_group(2, boundary_where(2, lambda x0, y0, z0, x1, y1, z1: abs(y1) < 1e-3), "symmetry")
    gmsh.option.setNumber("Mesh.MeshSizeMin", options.size)
    gmsh.option.setNumber("Mesh.MeshSizeMax", options.size)
