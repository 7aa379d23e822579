"""L-shaped domain of quadrilaterals with a sharp re-entrant corner, for stress-constrained design.

The arm [0, 0.4] x [0, 1] is clamped at the top, the foot [0, 1] x [0, 0.4] is loaded at its upper right end.

Groups: cells "design", "pad" (the solid cells under the load), facets "clamp", "load".
"""

import gmsh
from common import arguments, boundary_where, name_group, session

PAD = 0.06

options = arguments(__file__, size=0.015)
with session(options.out, 2):
    geometry = gmsh.model.geo
    xs, ys = (0.0, 0.4, 1.0 - PAD, 1.0), (0.0, 0.4 - PAD, 0.4, 1.0)
    p = {
        (i, j): geometry.addPoint(x, y, 0)
        for i, x in enumerate(xs)
        for j, y in enumerate(ys)
        if i < 2 or j < 3
    }
    lines = {}
    for i, j in p:
        for end in ((i + 1, j), (i, j + 1)):
            if end in p:
                lines[(i, j), end] = geometry.addLine(p[i, j], p[end])
                a, b = (xs[i], xs[end[0]]) if end[1] == j else (ys[j], ys[end[1]])
                geometry.mesh.setTransfiniteCurve(lines[(i, j), end], round((b - a) / options.size) + 1)
    blocks = {}
    for i, j in p:
        if (i + 1, j + 1) in p:
            below, right = lines[(i, j), (i + 1, j)], lines[(i + 1, j), (i + 1, j + 1)]
            above, left = lines[(i, j + 1), (i + 1, j + 1)], lines[(i, j), (i, j + 1)]
            blocks[i, j] = geometry.addPlaneSurface([geometry.addCurveLoop([below, right, -above, -left])])
            geometry.mesh.setTransfiniteSurface(blocks[i, j])
            geometry.mesh.setRecombine(2, blocks[i, j])
    geometry.synchronize()
    pad = blocks.pop((2, 1))
    name_group(2, list(blocks.values()), "design")
    name_group(2, [pad], "pad")
    name_group(1, boundary_where(1, lambda x0, y0, z0, x1, y1, z1: y0 > 0.999), "clamp")
    name_group(1, [lines[(2, 2), (3, 2)]], "load")
