"""What every plot of the report shares: its look, its sentence, and how it gets into the page."""

import json
import re
from dataclasses import dataclass
from typing import Any

# After Okabe and Ito, whose colours colour-blind people tell apart; some darker, to show on white (3 : 1).
BLUE, ORANGE, GREEN, SKY, PINK, YELLOW, RED, GREY = (
    *("#0072b2", "#b85c00", "#00785a", "#2e8fc6", "#b85f90"),
    *("#a68500", "#d55e00", "#767676"),
)
MODEL_COLOURS = {"L3AE": BLUE, "EASE": RED, "EASEText": "#009e73"}
_INK = "#333333"


@dataclass(frozen=True)
class Plot:
    """A Bokeh figure with a sentence that tells the same, and what its colours mean."""

    name: str
    title: str
    figure: Any
    alt: str
    legend: tuple[tuple[str, str], ...] = ()
    """Names and colours."""
    wide: bool = False
    """Whether it takes a row of the page for itself."""

    @property
    def target(self) -> str:
        """Id of the element that it is drawn into."""
        return f"plot-{self.name}"

    @property
    def data(self) -> str:
        """The figure as JSON that no character of ends a script element early."""
        from bokeh.embed import json_item

        return script_json(_plain_ids(json.dumps(json_item(self.figure, self.target))))


def script_json(text: str) -> str:
    """JSON that is safe inside of a script element: no ``<``, ``>``, ``&`` or line separators in it.

    >>> script_json('{"title": "</script>"}')
    '{"title": "\\\\u003c/script\\\\u003e"}'
    """
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain_ids(text: str) -> str:
    """Bokeh counts its models up for as long as a process lives; here they count from 1 in every plot."""
    known: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f'"p{len(known) + 1}"')

    return re.sub(r'"p\d+"', renamed, text)


def chart(height: int, **options: Any) -> Any:
    """An empty figure as wide as the page allows, without a toolbar."""
    from bokeh.models import NumeralTickFormatter
    from bokeh.plotting import figure

    values = {
        "height": height,
        "sizing_mode": "stretch_width",
        "toolbar_location": None,
        "tools": "",
        "output_backend": "svg",
        "min_border_right": 16,
        **options,
    }
    plot = figure(**values)
    for name, axes in (("x", plot.xaxis), ("y", plot.yaxis)):
        if options.get(f"{name}_axis_type") == "log":
            axes.formatter = NumeralTickFormatter(format="0,0")
    plot.outline_line_color = None
    return styled(plot)


def styled(plot: Any) -> Any:
    """The same text and lines for every figure."""
    for axis in plot.axis:
        axis.update(
            axis_label_text_color=_INK, major_label_text_color=_INK, axis_label_text_font_size="13px",
            major_label_text_font_size="12px", axis_line_color="#999999", major_tick_line_color="#999999",
            minor_tick_line_color=None, axis_label_text_font_style="normal",
        )  # fmt: skip
    plot.grid.grid_line_color = "#e4e4e4"
    return plot


def hover(plot: Any, renderers: list[Any], tips: list[tuple[str, str]], **options: Any) -> None:
    """Tool tips for some glyphs; ``tips`` name columns, whose text Bokeh shows as text."""
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(renderers=renderers, tooltips=tips, **options))
