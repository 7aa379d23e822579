"""A page for each demo, from its percent-format file, with what each cell printed and drew.

The demos are not run here: that takes a quarter of an hour and DOLFINx. `docs/build --execute` runs those
that changed and keeps their output in docs/executed; a page says so if its code has changed since.
"""

import json
from pathlib import Path

from cells import cells, fingerprint

_PAGE = """# Gallery

A picture of each demo. Each runs in about a minute, serially and under `mpirun`; tests run them all and check
their numbers. Click on a title for the text, the code and its output.

::::{{container}} cards
{cards}
::::

```{{toctree}}
:hidden:

{names}
```
"""
_CARDS = {  # where the picture that says most is not named as the demo is
    "cantilever_3d": "cantilever_3d_network",
    "compliant_mechanism": "compliant_mechanism_at_work",
    "hyperelastic": "hyperelastic_large_strains",
    "print_3d": "print_3d_printable",
    "stokes_flow": "stokes_flow_double_pipe",
}


def setup(app):
    """Write the pages before anything is read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app):
    docs = Path(app.srcdir)
    (docs / "gallery").mkdir(exist_ok=True)
    cards, names = [], []
    for demo in sorted((docs.parent / "demos").glob("demo_*.py")):
        name = demo.stem.removeprefix("demo_")
        title, page = _demo(demo.read_text(), docs / "executed" / f"{name}.json")
        (docs / "gallery" / f"{name}.md").write_text(page)
        drawn = _CARDS.get(name, name) + ".png"
        picture = f"![{title}](../executed/{drawn})\n\n" if (docs / "executed" / drawn).is_file() else ""
        cards.append(f":::{{container}} card\n{picture}[{title}]({name}.md)\n:::\n")
        names.append(name)
    page = _PAGE.format(cards="\n".join(cards), names="\n".join(names))
    (docs / "gallery" / "index.md").write_text(page)


def _demo(text, kept):
    """Return the title and the page of a demo: its cells, each with what it printed and drew."""
    record = json.loads(kept.read_text()) if kept.is_file() else {"cells": [], "code": "", "versions": ""}
    outputs = iter(record["cells"])
    (_, first), *rest = cells(text)
    title, _, said = first.partition("\n")
    old = "" if record["code"] == fingerprint(text) else "; **the code below has changed since**"
    run = f"Output of one run on one core, with {record['versions']}{old}"
    lines = [title, "", f"*{run if record['cells'] else 'Without output'}.*", said, ""]
    for is_code, source in rest:
        lines += ["```python", source, "```", ""] if is_code else [source, ""]
        output = next(outputs, None) if is_code else None
        if output and output["printed"].strip():
            lines += ["```text", output["printed"].strip("\n"), "```", ""]
        if output:
            lines += [f"![{Path(picture).stem}](../executed/{picture})\n" for picture in output["pictures"]]
    return title.removeprefix("# "), "\n".join(lines) + "\n"
