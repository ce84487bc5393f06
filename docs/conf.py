"""Sphinx for our own pages, ``pyterrier_lir/pt_docs``, as PyTerrier's site builds them: ``make docs``.

PyTerrier copies the pages into its own documentation, where its theme and directives come from. This folder has the
few of those directives that our pages use, so that the pages can be read and tested on their own and without a network.
"""

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from pyterrier_lir import __version__

project = "pyterrier_lir"
copyright = "the contributors of pyterrier_lir"
author = "the contributors of pyterrier_lir"
version = release = __version__

extensions = [
    "directives",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
]

html_theme = "furo"
html_title = f"pyterrier_lir {release}"
pygments_style = "sphinx"
toc_object_entries_show_parents = "hide"

autoclass_content = "both"
autodoc_typehints = "description"
autodoc_default_options = {"member-order": "bysource"}
autodoc_inherit_docstrings = False
strip_signature_backslash = True
default_role = "py:obj"  # `name` in a docstring is a link, where the page has the name
html_static_path = ["static"]
html_css_files = ["wide.css"]

# `sphinx-build -n` then reports names of ours that lead nowhere; other projects' pages are not looked up.
nitpick_ignore_regex = [
    ("py:class", r"pyterrier_lir\.index\.store\.Store"),  # how methods read an index; no part of the public face
    ("py:.*", r"(?!pyterrier_lir).*"),
]
