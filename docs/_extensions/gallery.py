"""A page for each demo, from its percent-format file, beneath the picture that it left.

The demos are not run here: that takes minutes and DOLFINx. The pictures in docs/pictures were left by
`demos/demo_*.py` at their committed sizes; the tests run every demo and check its numbers.
"""

from pathlib import Path

import jupytext

_PAGE = """# Gallery

Every demo runs in about a minute, serially and under `mpirun`. The pictures are those that the demos leave;
tests check their numbers. Click on a title for the text and the code.

{cards}

```{{toctree}}
:hidden:

{names}
```
"""


def setup(app):
    """Write the pages before anything is read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app):
    folder = Path(app.srcdir) / "gallery"
    folder.mkdir(exist_ok=True)
    cards, names = [], []
    for demo in sorted((Path(app.srcdir).parent / "demos").glob("demo_*.py")):
        name = demo.stem.removeprefix("demo_")
        page = jupytext.writes(jupytext.read(demo), fmt="md")
        page = page.partition("---\n\n")[2] if page.startswith("---") else page
        title, _, rest = page.partition("\n")
        seen = (Path(app.srcdir) / "pictures" / f"{name}.png").is_file()
        picture = f"![{title.removeprefix('# ')}](../pictures/{name}.png)" if seen else ""
        (folder / f"{name}.md").write_text(f"{title}\n\n{picture}\n{rest}")
        cards.append(f"## [{title.removeprefix('# ')}]({name}.md)\n\n{picture}\n")
        names.append(name)
    page = _PAGE.format(cards="\n".join(cards), names="\n".join(names))
    (folder / "index.md").write_text(page)
