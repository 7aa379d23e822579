"""Make the small pictures of the gallery from what the demos left in demos/output.

for demo in demos/demo_*.py; do ./with-fenicsx python3 $demo; done
./with-fenicsx python3 docs/pictures/make.py
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "demos" / "output"
OTHERS = {  # where the picture is not named as the demo is
    "cantilever_3d": "cantilever_3d_network",
    "compliant_mechanism": "compliant_mechanism_at_work",
    "hyperelastic": "hyperelastic_large_strains",
    "print_3d": "print_3d_printable",
    "stokes_flow": "stokes_flow_double_pipe",
}

for demo in sorted((HERE.parents[1] / "demos").glob("demo_*.py")):
    name = demo.stem.removeprefix("demo_")
    picture = Image.open(OUTPUT / f"{OTHERS.get(name, name)}.png").convert("RGB")
    picture.thumbnail((640, 480), Image.Resampling.LANCZOS)
    picture.quantize(64).save(HERE / f"{name}.png", optimize=True)
