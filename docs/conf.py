"""Sphinx: the pages of this folder, references made from the code, and nothing from the network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from l3ae_dist import __version__  # noqa: E402

project = "l3ae_dist"
release = version = __version__
copyright = "the l3ae_dist developers, Apache-2.0"
language = "en_GB"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "diagrams",
    "docstrings",
    "equations",
    "generated",
    "included",
    "mathml",
    "offline",
]
exclude_patterns = ["_build", "_ext"]
# a name that a docstring links to must have an entry; those of other packages are not looked up
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!l3ae_dist\b).*")]
# types that only signatures show
nitpick_ignore = [
    ("py:class", "l3ae_dist.model.added_items.AddedItems"),
    ("py:class", "l3ae_dist.serving._Column"),
    ("py:class", "l3ae_dist.operations.garbage.Collection"),
    ("py:class", "l3ae_dist.operations.status.WorkspaceStatus"),
    ("py:class", "l3ae_dist.operations.usage.WorkspaceUsage"),
    ("py:class", "l3ae_dist.operations.usage.ModelUsage"),
    ("py:class", "l3ae_dist.pipeline.job.Job"),
    ("py:class", "l3ae_dist.storage.blobs.Blobs"),
    ("py:class", "l3ae_dist.storage.damage_notes.DamagedChunk"),
    ("py:class", "l3ae_dist.storage.done_marks.DoneMarks"),
    ("py:class", "l3ae_dist.storage.export_header.FileDigest"),
    ("py:class", "l3ae_dist.storage.records.StageRecord"),
    ("py:class", "l3ae_dist.storage.root.WorkspaceRoot"),
    ("py:class", "l3ae_dist.storage.stages.Stage"),
]

myst_enable_extensions = ["deflist", "dollarmath", "attrs_block"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False

toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "l3ae_dist"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
