"""On the page of the mathematics, a function's name leads to its documentation."""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from l3ae_dist.linalg import closed_form

_PAGE = "mathematics"


class NamesOfFunctions(SphinxTransform):
    """Turn literals that name a function of ``closed_form`` into references to it."""

    default_priority = 500

    def apply(self, **_options: Any) -> None:
        """Replace the literals of one page."""
        if self.env.docname != _PAGE:
            return
        for literal in list(self.document.findall(nodes.literal)):
            thing = getattr(closed_form, literal.astext(), None)
            if getattr(thing, "__module__", None) == closed_form.__name__:
                target = f"{closed_form.__name__}.{literal.astext()}"
                link = addnodes.pending_xref(
                    "", refdomain="py", reftype="func", reftarget=target, refdoc=_PAGE, refexplicit=True
                )
                literal.replace_self(link)
                link += literal


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform, which runs as pages are read."""
    app.add_transform(NamesOfFunctions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
