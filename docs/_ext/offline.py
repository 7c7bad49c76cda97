"""The built pages must not load anything from elsewhere; a page that does is a warning, hence an error."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preload|icon)[^>]*\bhref\s*=\s*["']?(?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//|\burl\(["']?(?:https?:)?//""",
    re.IGNORECASE,
)


def from_elsewhere(text: str) -> list[str]:
    """Find what a browser would load from another machine for a page or style sheet."""
    return [found.group() for found in _LOADS.finditer(text)]


def check(app: "Sphinx", failure: Exception | None) -> None:
    """Refuse a build whose pages load anything from another machine."""
    from sphinx.util import logging

    log = logging.getLogger(__name__)
    if failure is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in (".html", ".css"):
            for load in from_elsewhere(path.read_text(encoding="utf-8")):
                log.warning("%s loads from the network: %s", path.name, load, type="offline")


def setup(app: "Sphinx") -> dict[str, Any]:
    """Connect the check, which runs when everything is written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
