"""Pages that live beside the files they describe, and are included in the site.

On disk a link leads to `../cluster/kuberay/README.md`, in the site to the page that includes it.
"""

import re
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"\]\(\.\./cluster/(\w+)/README\.md\)")


def lead_to_the_page(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Change the links of one page."""
    source[0] = _LINK.sub(r"](platforms/\1.md)", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the change of links, which happens as pages are read."""
    app.connect("source-read", lead_to_the_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
