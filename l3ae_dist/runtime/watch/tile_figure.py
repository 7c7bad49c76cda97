"""The map of a stage's tiles as a Bokeh figure: states in colour; tile, worker, seconds and tier on hover."""

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool, LinearColorMapper
from bokeh.plotting import figure

from l3ae_dist.runtime.watch.run_view import STATE_NAMES, TIER_NAMES, StageView, TileState

# Okabe and Ito's colours, which colour-blind people tell apart, on white where there is no tile.
COLOURS = {
    TileState.ABSENT: "#ffffff",
    TileState.DONE: "#0072b2",
    TileState.PENDING: "#dddddd",
    TileState.AGAIN: "#56b4e9",
    TileState.RUNNING: "#f0e442",
    TileState.BAD: "#d55e00",
}


class TileFigure:
    """One map; its figure is kept and shows another stage when there is one.

    Parameters
    ----------
    side
        Pixels of a side at most; a small map is a thumbnail without axes.
    thumbnail
        Whether it is one.
    """

    def __init__(self, side: int, *, thumbnail: bool = False) -> None:
        self._thumbnail = thumbnail
        self._shown: tuple[int, int, int, str] | None = None
        self.source = ColumnDataSource({"image": [], "dw": [], "dh": [], "worker": [], "ms": [], "tier": []})
        self.figure = figure(
            sizing_mode="scale_width", min_width=min(side, 130), max_width=side, aspect_ratio=0.94,
            toolbar_location=None, x_axis_location="above", title=" ", x_range=(0, 1), y_range=(1, 0),
            tools=[], styles={"flex": f"1 1 {side}px"},
        )  # fmt: skip
        mapper = LinearColorMapper(palette=[COLOURS[state] for state in TileState], low=-0.5, high=5.5)
        # the first row of an image lies at y = 0, which the reversed range puts at the top
        drawn = self.figure.image(
            "image", x=0, y=0, dw="dw", dh="dh", color_mapper=mapper, source=self.source
        )
        self.figure.grid.visible = False
        self.figure.visible = False
        if thumbnail:
            self.figure.axis.visible = False
            self.figure.title.text_font_size = "11px"
        else:
            self._add_axes_and_hover(drawn)

    def _add_axes_and_hover(self, drawn: object) -> None:
        for axis, label in zip(self.figure.axis, ("column of tiles", "row of tiles"), strict=True):
            axis.axis_label = label
            axis.ticker.min_interval = 1
            axis.ticker.num_minor_ticks = 0
        states = {int(state): name for state, name in STATE_NAMES.items()}
        names = {
            "@image": CustomJSHover(code=f"return ({states})[value] || 'none'"),
            "@tier": CustomJSHover(code=f"return ({list(TIER_NAMES)})[value] || ''"),
            "@worker": CustomJSHover(code="return value > 0 ? String(value) : 'not yet'"),
            "@ms": CustomJSHover(code="return value > 0 ? (value / 1000).toFixed(2) + ' s' : ''"),
            "$x": CustomJSHover(code="return String(Math.floor(value))"),
            "$y": CustomJSHover(code="return String(Math.floor(value))"),
        }
        told = [
            ("tile", "row $y{custom}, column $x{custom}"), ("state", "@image{custom}"),
            ("worker", "@worker{custom}"), ("took", "@ms{custom}"), ("read from", "@tier{custom}"),
        ]  # fmt: skip
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=told, formatters=names))

    def show(self, stage: StageView, name: str) -> None:
        """Draw the tiles of a stage under its name; what is drawn already is not sent again."""
        shown = (id(stage), stage.version, stage.done, name)
        if stage.states is None or shown == self._shown:
            return
        self._shown = shown
        states, (rows, columns) = stage.matrix(), stage.states.shape
        told = stage.told
        if self._thumbnail or told is None:
            told = np.zeros((3, 1, 1), np.int32)  # nothing is told of a single tile
        self.source.data = {
            "image": [states], "dw": [columns], "dh": [rows], "worker": [told[0]], "ms": [told[1]],
            "tier": [told[2]],
        }  # fmt: skip
        self.figure.title.text = f"{name}: {stage.done:,} of {stage.total:,} tasks"
        self.figure.x_range.update(start=0, end=columns)
        self.figure.y_range.update(start=rows, end=0)
        self.figure.visible = True

    def hide(self) -> None:
        """Show nothing."""
        self._shown = None
        self.figure.visible = False
