"""Links from a page to files beside docs/: right on a code host, and in docs/_build/html.

A link to a demo leads to its page in the gallery there, one to all demos to the gallery.
"""

import os
import re
from pathlib import Path

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)\s]+)\)")


def setup(app):
    """Rewrite links when a page is read."""
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True}


def _rewrite(app, name, source):
    folder = (Path(app.srcdir) / name).parent

    def anchor(link):
        text, target = link.groups()
        path = Path(os.path.normpath(folder / target.partition("#")[0]))
        if path.is_relative_to(app.srcdir):
            return link[0]
        if not path.exists():
            raise ValueError(f"{name}: {target} does not exist")
        demo = re.fullmatch(r"demos(?:/demo_(\w+)\.py)?", str(path.relative_to(Path(app.srcdir).parent)))
        if demo:
            page = Path(app.srcdir) / "gallery" / f"{demo[1] or 'index'}.md"
            return f"[{text}]({os.path.relpath(page, folder)})"
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
        return f'<a href="../../{target}">{text}</a>'

    source[0] = _LINK.sub(anchor, source[0])
