"""A plate with a hole and a foot beneath it, as a CAD program exports them: plate.step, in millimetres.

Two solids that touch; the wall of the hole is red. 100 x 40 x 20 with a hole of radius 8; the foot is
20 x 40 x 10 at the left end.
"""

import re
from pathlib import Path

import gmsh

OUT = Path(__file__).with_name("plate.step")
RED = """#900=COLOUR_RGB('',1.,0.,0.);
#901=FILL_AREA_STYLE_COLOUR('',#900);
#902=FILL_AREA_STYLE('',(#901));
#903=SURFACE_STYLE_FILL_AREA(#902);
#904=SURFACE_SIDE_STYLE('',(#903));
#905=SURFACE_STYLE_USAGE(.BOTH.,#904);
#906=PRESENTATION_STYLE_ASSIGNMENT((#905));
#907=STYLED_ITEM('',(#906),{face});
#908=MECHANICAL_DESIGN_GEOMETRIC_PRESENTATION_REPRESENTATION('',(#907),{context});
"""

gmsh.initialize(readConfigFiles=False, interruptible=False)
gmsh.option.setNumber("General.Terminal", 0)
occ = gmsh.model.occ
plate = (3, occ.addBox(0, 0, 0, 100, 40, 20))
occ.cut([plate], [(3, occ.addCylinder(80, 20, -1, 0, 0, 22, 8))])
occ.addBox(0, 0, -10, 20, 40, 10)
occ.synchronize()
gmsh.write(str(OUT))
gmsh.finalize()

text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "2026-01-01T00:00:00", OUT.read_text())
(cylinder,) = re.findall(r"(#\d+) = CYLINDRICAL_SURFACE", text)
(face,) = re.findall(rf"(#\d+) = ADVANCED_FACE\('',\([^)]*\),{cylinder},", text)
context = re.findall(r"(#\d+) = \( GEOMETRIC_REPRESENTATION_CONTEXT\(3\)", text)[0]
end = text.rindex("ENDSEC;")
OUT.write_text(text[:end] + RED.format(face=face, context=context) + text[end:])
