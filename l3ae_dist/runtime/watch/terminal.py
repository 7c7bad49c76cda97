"""The one way to a terminal: nothing of what is printed is obeyed, and nothing secret is printed.

Titles, ids, names of files and errors of other libraries are data. Escape sequences in them are shown and
not sent, brackets and ``:names:`` are no markup, and passwords and tokens are left out.
"""

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from l3ae_dist.messages import inline, neutral, redacted


class PlainConsole(Console):
    """A console whose strings are data: no markup, no emoji names, no control characters.

    Parameters
    ----------
    file
        Where to print; standard output when None.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        stream = sys.stdout if file is None else file
        super().__init__(
            file=getattr(stream, "terminal", stream),  # the styles of the console itself are to be obeyed
            highlight=False,
            markup=False,
            emoji=False,
            force_jupyter=False,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render something as segments, with the text of each escaped."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(neutral(redacted(text)), style)


def plain_text(value: object) -> Text:
    """Make a cell, a heading or a line of a value: on one line, with what cannot be seen escaped."""
    return Text(inline(redacted(str(value))))
