"""L-bracket with a fillet and three bolt holes; lengths in metres.

The upright arm is 0.4 wide and 1 high, the foot 1 long and 0.4 high. Two bolts fix it at the top of the arm;
the third, at the end of the foot, carries the load. Each hole has a ring of solid material.

Groups: cells "web" (to be designed), "rings" (solid), facets "bolts" (the two upper holes), "load" (the third
hole).
"""

import gmsh
from common import arguments, boundary_where, name_group, session

ARM, HOLE, RING, FILLET = 0.4, 0.05, 0.09, 0.15
BOLTS = ((0.1, 0.88), (0.3, 0.88))
LOAD = (0.88, 0.2)

options = arguments(__file__, size=0.018)
with session(options.out, 2):
    occ = gmsh.model.occ
    corners = ((0, 0), (1, 0), (1, ARM), (ARM + FILLET, ARM), (ARM, ARM + FILLET), (ARM, 1), (0, 1))
    p = [occ.addPoint(x, y, 0) for x, y in corners]
    centre = occ.addPoint(ARM + FILLET, ARM + FILLET, 0)
    edges = [occ.addLine(p[0], p[1]), occ.addLine(p[1], p[2]), occ.addLine(p[2], p[3])]
    edges += [occ.addCircleArc(p[3], centre, p[4]), occ.addLine(p[4], p[5])]
    edges += [occ.addLine(p[5], p[6]), occ.addLine(p[6], p[0])]
    plate = occ.addPlaneSurface([occ.addCurveLoop(edges)])
    rings = [occ.addDisk(x, y, 0, RING, RING) for x, y in (*BOLTS, LOAD)]
    holes = [occ.addDisk(x, y, 0, HOLE, HOLE) for x, y in (*BOLTS, LOAD)]
    occ.fragment([(2, plate)], [(2, tag) for tag in rings + holes])
    occ.synchronize()

    def radius_at(box, at):
        """Half the width of a bounding box centred at `at`, else infinity."""
        middle = ((box[0] + box[3]) / 2, (box[1] + box[4]) / 2)
        centred = abs(middle[0] - at[0]) + abs(middle[1] - at[1]) < 1e-3
        return (box[3] - box[0]) / 2 if centred else float("inf")

    def is_near(value, target):
        return abs(value - target) < 1e-3

    everywhere = (*BOLTS, LOAD)
    surfaces = {tag: gmsh.model.getBoundingBox(2, tag) for _, tag in gmsh.model.getEntities(2)}
    inner = [
        tag for tag, box in surfaces.items() if any(is_near(radius_at(box, at), HOLE) for at in everywhere)
    ]
    gmsh.model.occ.remove([(2, tag) for tag in inner])
    gmsh.model.occ.synchronize()
    ring_tags = [
        tag for tag, box in surfaces.items() if any(is_near(radius_at(box, at), RING) for at in everywhere)
    ]
    web = [tag for tag in surfaces if tag not in inner + ring_tags]
    name_group(2, web, "web")
    name_group(2, ring_tags, "rings")
    bolts = boundary_where(1, lambda *box: any(is_near(radius_at(box, at), HOLE) for at in BOLTS))
    name_group(1, bolts, "bolts")
    name_group(1, boundary_where(1, lambda *box: is_near(radius_at(box, LOAD), HOLE)), "load")
    gmsh.option.setNumber("Mesh.MeshSizeMin", options.size)
    gmsh.option.setNumber("Mesh.MeshSizeMax", options.size)
