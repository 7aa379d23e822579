"""Sphinx: MyST pages, the API from docstrings without importing anything, the gallery from the demos."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "dolfinx_neural_topo"
author = copyright = "The dolfinx_neural_topo developers"
extensions = ["myst_parser", "api", "gallery", "formulas", "outside"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_extensions"]
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_theme = "furo"
html_title = "dolfinx neural topo"
html_show_copyright = False
html_copy_source = False
html_math_renderer = "mathml"
nitpicky = True
