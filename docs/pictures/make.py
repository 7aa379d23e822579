"""Make the two pictures of the documentation that no demo shows: before and after the cut, and convergence.

./with-fenicsx python3 docs/execute.py mbb_beam
./with-fenicsx python3 docs/pictures/make.py
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "demos" / "output"


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


before_and_after()
convergence = Image.open(OUTPUT / "mbb_beam_convergence.png").convert("RGB")
convergence.thumbnail((640, 480), Image.Resampling.LANCZOS)
convergence.quantize(64, Image.Quantize.MAXCOVERAGE).save(HERE / "convergence.png", optimize=True)
