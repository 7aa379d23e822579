"""Run the demos for the gallery, and make the pictures of the documentation.

    ./with-fenicsx python3 docs/pictures/make.py             # all demos, then the other pictures; ten minutes
    ./with-fenicsx python3 docs/pictures/make.py mbb_beam    # some demos alone

Each demo leaves NAME.png, a small copy of its picture, and NAME.txt, what it printed.
"""

import subprocess
import sys
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

wanted = sys.argv[1:]
for demo in sorted((HERE.parents[1] / "demos").glob("demo_*.py")):
    name = demo.stem.removeprefix("demo_")
    if wanted and name not in wanted:
        continue
    print(demo.name, flush=True)
    done = subprocess.run([sys.executable, demo], capture_output=True, text=True, check=True)
    (HERE / f"{name}.txt").write_text(done.stdout)
    picture = Image.open(OUTPUT / f"{OTHERS.get(name, name)}.png").convert("RGB")
    picture.thumbnail((640, 480), Image.Resampling.LANCZOS)
    picture.quantize(64).save(HERE / f"{name}.png", optimize=True)


def before_and_after():
    """Draw the beam of "Getting started", on a finer mesh, before and after the last stage."""
    page = (HERE.parent / "getting_started.md").read_text()
    lines = page.partition("```python\n")[2].partition("```")[0].partition("dnt.plotting")[0]
    names = {}
    exec(lines.replace("[48, 24]", "[96, 48]").replace("radius=0.08", "radius=0.05"), names)  # our own text
    found, built, rho = names["found"], names["built"], names["rho"]
    designs = {
        f"grey: {found.objective:.1f}": names["dnt"].io.as_function(found.rho, rho),
        f"solid and void: {built.value:.1f}": names["dnt"].io.as_function(built.rho, rho, name="built"),
    }
    names["dnt"].plotting.plot_designs(HERE / "before_and_after.png", designs)
    picture = Image.open(HERE / "before_and_after.png").convert("RGB")
    picture.thumbnail((800, 400), Image.Resampling.LANCZOS)
    picture.quantize(32).save(HERE / "before_and_after.png", optimize=True)
    names["state"].destroy()


if not wanted:
    before_and_after()
    convergence = Image.open(OUTPUT / "mbb_beam_convergence.png").convert("RGB")
    convergence.thumbnail((640, 480), Image.Resampling.LANCZOS)
    convergence.quantize(32).save(HERE / "convergence.png", optimize=True)
