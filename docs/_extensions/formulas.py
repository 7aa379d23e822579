"""Formulas as MathML, so that the pages need no network."""

from docutils import nodes
from latex2mathml.converter import convert


def setup(app):
    """Offer the renderer "mathml"."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(self, node):
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(self, node):
    self.body.append(f"<p>{convert(node.astext(), display='block')}</p>")
    raise nodes.SkipNode
