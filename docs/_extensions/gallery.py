"""A page for each demo, from its percent-format file, with the picture it left and what it printed.

The demos are not run here: that takes minutes and DOLFINx. `docs/pictures/make.py` has run them at their
committed sizes; the tests run every demo again and check its numbers.
"""

from pathlib import Path

import jupytext

_PAGE = """# Gallery

Every demo runs in about a minute, serially and under `mpirun`. The pictures are those that the demos leave;
tests check their numbers. Click for the text, the code and what it prints.

| | | |
|:---:|:---:|:---:|
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
        printed = Path(app.srcdir) / "pictures" / f"{name}.txt"
        end = f"\n## What it prints\n\n```text\n{printed.read_text()}```\n" if printed.is_file() else ""
        (folder / f"{name}.md").write_text(f"{title}\n\n{picture}\n{rest}{end}")
        cards.append(f"[{picture}]({name}.md)<br>[{title.removeprefix('# ')}]({name}.md)")
        names.append(name)
    rows = [" | ".join(["", *cards[k : k + 3], ""]).strip() for k in range(0, len(cards), 3)]
    page = _PAGE.format(cards="\n".join(rows), names="\n".join(names))
    (folder / "index.md").write_text(page)
