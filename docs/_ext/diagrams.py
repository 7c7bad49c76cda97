"""SVG images within the page, so that they follow its light and dark colours; on disk they stay images."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class InlineDiagrams(SphinxPostTransform):
    """Replace every image of a local SVG by the SVG itself, in a frame that scrolls where it is narrow."""

    default_priority = 5
    formats = ("html",)

    def run(self, **_options: Any) -> None:
        """Replace the images of one page."""
        for image in list(self.document.findall(nodes.image)):
            path = Path(self.app.srcdir, image["uri"])
            if path.suffix == ".svg" and path.is_file():
                svg = path.read_text(encoding="utf-8")
                image.replace_self(nodes.raw("", f'<div class="diagram-frame">{svg}</div>', format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform, which runs before the builder collects images."""
    app.add_post_transform(InlineDiagrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
