"""Sphinx settings of the site in docs/: `make docs` builds it into build/docs."""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Tracebacks and help texts are for 80 columns; no colour in what sphinx-click copies.
os.environ.setdefault("NO_COLOR", "1")

import click

import luab_data
from luab_data.cli import main as data_commands
from luab_train.cli import main as train_commands

# sphinx-click sees only commands that are loaded; ours are, when they run.
for group in (data_commands, train_commands):
    context = click.Context(group)
    for name in group.list_commands(context):
        group.add_command(group.get_command(context, name), name)

project = "luab"
author = "the authors of luab"
release = version = luab_data.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["_build", "render.py"]
source_suffix = {".md": "markdown"}
smartquotes = False  # `--out` in a help text is two hyphens
default_role = "code"  # `name` in a docstring is code, as everywhere else

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "exclude-members": "columns"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "luab"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "navigation_with_keys": False,
}
html_sidebars = {"index": []}
copyright = "the authors of luab. Apache-2.0"

_CITATION = re.compile(r"(?<![\w`/<])docs/(\w+)\.md#([\w-]+)")


def plain_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: a `|` is no markup, and `docs/definitions.md#recall` is a link."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[number] = _CITATION.sub(r"`\2 <\1.html#\2>`__", "`".join(parts))


def escape(app, context, lines):
    """Help texts are plain: their `|`, `*`, `_` are no markup."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((".. ", ":")):
            lines[number] = re.sub(r"([|*_])", r"\\\1", line)


def setup(app):
    """Called by Sphinx."""
    app.connect("sphinx-click-process-description", escape)
    app.connect("sphinx-click-process-options", escape)
    app.connect("autodoc-process-docstring", plain_docstring)
