"""A crane hook, cut from a plate; lengths in metres.

The eye hangs on a pin and has a ring of solid material. The load lies in the saddle, the bottom of a throat
that is open to the right; a lip of solid material lines it.

Groups: cells "plate" (to be designed), "ring" and "lip" (solid); facets "eye" (the hole), "saddle" (the arc
that carries the load).
"""

import gmsh
from common import arguments, boundary_where, name_group, session

WIDTH, HEIGHT = 0.6, 1.0
EYE, HOLE, RING = (0.3, 0.88), 0.05, 0.09  # centre, radius of the hole, and of the ring around it
SADDLE, THROAT, LIP = (0.32, 0.42), 0.12, 0.03  # centre and radius of the saddle, thickness of its lip
OPENING = 0.64  # height up to which the throat is open

options = arguments(__file__, size=0.016)
with session(options.out, 2):
    occ = gmsh.model.occ
    plate = (2, occ.addRectangle(0, 0, 0, WIDTH, HEIGHT))
    hole = (2, occ.addDisk(*EYE, 0, HOLE, HOLE))
    throat = (2, occ.addDisk(*SADDLE, 0, THROAT, THROAT))
    left = SADDLE[0] - THROAT
    gap = (2, occ.addRectangle(left, SADDLE[1], 0, WIDTH - left, OPENING - SADDLE[1]))
    body, _ = occ.cut([plate], [hole, throat, gap])
    ring = occ.cut([(2, occ.addDisk(*EYE, 0, RING, RING))], [(2, occ.addDisk(*EYE, 0, HOLE, HOLE))])[0]
    below = (2, occ.addRectangle(left - LIP, SADDLE[1] - THROAT - LIP, 0, 2 * (THROAT + LIP), THROAT + LIP))
    outer = occ.intersect([(2, occ.addDisk(*SADDLE, 0, THROAT + LIP, THROAT + LIP))], [below])[0]
    lip = occ.cut(outer, [(2, occ.addDisk(*SADDLE, 0, THROAT, THROAT))])[0]
    _, pieces = occ.fragment(body, ring + lip)
    occ.synchronize()
    parts = {"ring": pieces[len(body)], "lip": pieces[len(body) + 1]}
    solid = {name: sorted({tag for _, tag in found}) for name, found in parts.items()}
    used = {tag for tags in solid.values() for tag in tags}
    name_group(2, [tag for _, tag in gmsh.model.getEntities(2) if tag not in used], "plate")
    for name, tags in solid.items():
        name_group(2, tags, name)

    def within(centre, radius):
        """Whether a bounding box lies in the square around a circle."""
        x, y = centre
        limits = (x - radius, y - radius, x + radius, y + radius)
        return lambda x0, y0, z0, x1, y1, z1: (
            x0 > limits[0] - 1e-4
            and y0 > limits[1] - 1e-4
            and x1 < limits[2] + 1e-4
            and y1 < limits[3] + 1e-4
        )

    name_group(1, boundary_where(1, within(EYE, HOLE)), "eye")
    name_group(1, boundary_where(1, within(SADDLE, THROAT)), "saddle")
    gmsh.option.setNumber("Mesh.MeshSizeMin", options.size)
    gmsh.option.setNumber("Mesh.MeshSizeMax", options.size)
