"""Docstrings of this package as Sphinx reads them.

A *Returns* section here is a sentence, not a list of types. It is taken out before napoleon takes its
lines apart, and put back as one field, in front of what is raised. A role that names a class or function
without its module finds it wherever it is documented.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_RULE = re.compile(r"-{3,}$")
_AFTER = re.compile(r":raises|\.\. rubric::|>>>")
_SHORT = re.compile(r"(:(?:class|func|meth|attr|data):`)(?=[A-Za-z_])(?!l3ae_dist\.)")
_taken: dict[str, list[str]] = {}


def without_returns(lines: list[str]) -> tuple[list[str], list[str]]:
    """Split a docstring into the lines without *Returns* and that section as a field (empty without one)."""
    ruled = [at + 1 < len(lines) and bool(_RULE.match(lines[at + 1].strip())) for at in range(len(lines))]
    start = next((at for at, line in enumerate(lines) if ruled[at] and line.strip() == "Returns"), None)
    if start is None:
        return lines, []
    stop = next((at for at in range(start + 2, len(lines)) if ruled[at]), len(lines))
    text = "\n".join(lines[start + 2 : stop]).strip("\n").split("\n")
    field = [
        f":returns: {text[0].strip()}",
        *(f"    {line}" if line.strip() else "" for line in text[1:]),
        "",
    ]
    return lines[:start] + lines[stop:], field


def take_out(_app: "Sphinx", _what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Take the *Returns* section out before napoleon reads the docstring."""
    lines[:] = [_SHORT.sub(r"\1.", line) for line in lines]
    lines[:], _taken[name] = without_returns(lines)


def put_back(_app: "Sphinx", _what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Put the *Returns* section back after napoleon, in front of what is raised."""
    field = _taken.pop(name, [])
    if not field:
        return
    at = next((at for at, line in enumerate(lines) if _AFTER.match(line)), len(lines))
    before = [] if at and lines[at - 1].startswith((":", " ")) else [""]
    lines[at:at] = [*before, *field]


def setup(app: "Sphinx") -> dict[str, Any]:
    """Connect both steps around napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", take_out, priority=400)
    app.connect("autodoc-process-docstring", put_back, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
