"""Heat sink: a round plate of radius 1 whose rim is cold along one arc of 40 degrees at the bottom.

Groups: cells "plate"; facets "sink" (the cold arc), "rim" (the rest).
"""

import math

import gmsh
from common import arguments, name_group, session

options = arguments(__file__, size=0.03)
with session(options.out, 2):
    geometry = gmsh.model.geo
    half = math.radians(20.0)
    centre = geometry.addPoint(0, 0, 0, options.size)
    angles = (-math.pi / 2 - half, -math.pi / 2 + half, 0.0, math.pi / 2, math.pi)
    points = [geometry.addPoint(math.cos(a), math.sin(a), 0, options.size) for a in angles]
    arcs = [
        geometry.addCircleArc(start, centre, end)
        for start, end in zip(points, points[1:] + points[:1], strict=True)
    ]
    plate = geometry.addPlaneSurface([geometry.addCurveLoop(arcs)])
    geometry.remove([(0, centre)])
    geometry.synchronize()
    name_group(2, [plate], "plate")
    name_group(1, arcs[:1], "sink")
    name_group(1, arcs[1:], "rim")
