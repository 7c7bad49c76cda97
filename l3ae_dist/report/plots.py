"""Plots of a report: their common look, the sentence beside each, and their way into the page."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bokeh.models import Range1d, Renderer
    from bokeh.plotting import figure as Figure

# After Okabe and Ito, whose colours colour-blind people tell apart; some darker, to show on white (3 : 1).
BLUE, ORANGE, GREEN, SKY, PINK, YELLOW, RED, GREY = (
    *("#0072b2", "#b85c00", "#00785a", "#2e8fc6", "#b85f90"),
    *("#a68500", "#d55e00", "#767676"),
)
MODEL_COLOURS = {
    "L3AE": BLUE,
    "EASE": RED,
    "EASEText": "#009e73",
    "LAE": "#e69f00",
    "RLAE": "#b8860b",
    "EDLAE": "#cc79a7",
    "DLAE": "#8e5ea2",
    "RDLAE": "#6a3d9a",
    "DAN": "#56b4e9",
    "DEQL": "#555555",
}
_INK = "#333333"
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Plot:
    """Bokeh figure of a page, with a sentence that tells the same and the meaning of its colours."""

    name: str
    title: str
    figure: "Figure"
    alt: str
    legend: tuple[tuple[str, str], ...] = ()
    """Names and their colours."""
    wide: bool = False
    """True where the plot takes a row of the page for itself."""

    @property
    def target(self) -> str:
        """Id of the HTML element that the plot is drawn into."""
        return f"plot-{self.name}"

    @property
    def data(self) -> str:
        """Figure as JSON, safe inside of a script element."""
        from bokeh.embed import json_item

        return script_json(_plain_ids(json.dumps(json_item(self.figure, self.target))))


def script_json(text: str) -> str:
    """Make JSON safe inside of a script element: escape ``<``, ``>``, ``&`` and line separators.

    >>> script_json('{"title": "</script>"}')
    '{"title": "\\\\u003c/script\\\\u003e"}'
    """
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain_ids(text: str) -> str:
    """Number the ids of Bokeh's models from 1: Bokeh counts them up for as long as a process lives."""
    known: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f'"p{len(known) + 1}"')

    return re.sub(r'"p\d+"', renamed, text)


def chart(
    height: int,
    *,
    x_label: str | None = None,
    y_label: str | None = None,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
    y_range: "Sequence[str] | Range1d | None" = None,
) -> "Figure":
    """Create an empty figure as wide as its place on the page, without a toolbar.

    Parameters
    ----------
    height
        In pixels.
    x_label, y_label
        What the axes show.
    x_scale, y_scale
        ``linear`` or ``log``.
    y_range
        Names of the rows from the bottom up, or a range of Bokeh; a range of numbers that fits when None.
    """
    from bokeh.models import NumeralTickFormatter
    from bokeh.plotting import figure

    axes = {"x_axis_label": x_label, "y_axis_label": y_label, "y_range": y_range}
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        output_backend="svg",
        min_border_right=16,
        x_axis_type="log" if x_scale == "log" else "auto",
        y_axis_type="log" if y_scale == "log" else "auto",
        **{name: value for name, value in axes.items() if value is not None},
    )
    for scale, axis in ((x_scale, plot.xaxis), (y_scale, plot.yaxis)):
        if scale == "log":
            axis.formatter = NumeralTickFormatter(format="0,0")
    plot.outline_line_color = None
    return styled(plot)


def styled(plot: "Figure") -> "Figure":
    """Give a figure the text and lines that all figures of a report share, and return it."""
    for axis in plot.axis:
        axis.update(
            axis_label_text_color=_INK, major_label_text_color=_INK, axis_label_text_font_size="13px",
            major_label_text_font_size="12px", axis_line_color="#999999", major_tick_line_color="#999999",
            minor_tick_line_color=None, axis_label_text_font_style="normal",
        )  # fmt: skip
    plot.grid.grid_line_color = "#e4e4e4"
    return plot


def hover(plot: "Figure", renderer: "Renderer", tips: Sequence[tuple[str, str]]) -> None:
    """Add tool tips to one glyph of a figure.

    Parameters
    ----------
    plot
        The figure.
    renderer
        What the call that drew the glyph returned.
    tips
        Labels and formats such as ``@seconds{0.00}``, which name columns of the glyph's data; Bokeh shows
        their values as text, never as HTML.
    """
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(renderers=[renderer], tooltips=list(tips)))
