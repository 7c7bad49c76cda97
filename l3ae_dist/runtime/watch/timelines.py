"""Lines of the page over time: a lane of tasks for each worker, memory against its limits, and traffic."""

from bokeh.models import ColumnDataSource, HoverTool, Span
from bokeh.plotting import figure

from l3ae_dist.runtime.watch.run_history import RunHistory
from l3ae_dist.runtime.watch.run_view import RunView

# Seconds that are shown, and lanes.
_SHOWN, _LANES = 120.0, 16
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#767676"
# Of the stages whose tasks have lanes; others are grey.
_STAGE_COLOURS = {
    "gram": "#56b4e9", "factor": "#0072b2", "linv": "#d55e00", "invert": "#cc79a7", "product": "#8c6bb1",
    "score": "#e6b800", "assemble": "#666666", "rank": "#003f5c",
}  # fmt: skip


def _line_figure(height: int, label: str, title: str) -> figure:
    made = figure(
        sizing_mode="stretch_width", height=height, min_width=260, toolbar_location=None, tools=[],
        title=title, y_axis_label=label, x_range=(-_SHOWN, 0), x_axis_label="seconds before now",
    )  # fmt: skip
    made.xgrid.visible = False
    made.axis.minor_tick_line_color = None
    made.yaxis.ticker.desired_num_ticks = 4
    made.visible = False
    return made


class Timelines:
    """The figures of a page, kept and brought up to date."""

    def __init__(self) -> None:
        self.lanes = _line_figure(150, "worker", "Tasks of the workers")
        self._tasks = ColumnDataSource({name: [] for name in ("y", "left", "right", "colour", "task")})
        bars = self.lanes.hbar(
            y="y", left="left", right="right", height=0.7, color="colour", source=self._tasks
        )
        self.lanes.add_tools(HoverTool(renderers=[bars], tooltips=[("task", "@task")]))
        self.lanes.yaxis.ticker.min_interval = 1
        self.lanes.yaxis.ticker.num_minor_ticks = 0
        self.lanes.ygrid.visible = False
        self.memory = _line_figure(150, "GiB", "Largest worker (dashed: projected, red: allowed)")
        self._memory = ColumnDataSource({"x": [], "y": []})
        self.memory.line("x", "y", line_width=2, color=_BLUE, source=self._memory)
        self._limits = [
            Span(location=0, dimension="width", line_color=colour, line_dash=dash, visible=False)
            for colour, dash in ((_GREY, "dashed"), (_ORANGE, "solid"))
        ]
        for limit in self._limits:
            self.memory.add_layout(limit)
        self.memory.y_range.start = 0
        self.traffic = _line_figure(130, "MB/s", "Tiles read and written by all workers")
        self._traffic = ColumnDataSource({"x": [], "y": []})
        self.traffic.line("x", "y", line_width=2, color=_BLUE, source=self._traffic)
        self.traffic.y_range.start = 0

    def update(self, view: RunView, now: float) -> None:
        """Draw the last two minutes; a figure appears with its first sample."""
        history = view.history
        for drawn in (self.lanes, self.memory, self.traffic):
            drawn.x_range.start = -min(_SHOWN, max(10.0, now - view.started))
        self._draw_lanes(history, now)
        memory = [(time - now, nbytes / 2**30) for time, nbytes in history.memory if nbytes]
        self._draw(self.memory, self._memory, memory)
        if view.plan is not None:
            bounds = (view.plan.projected_peak_bytes, view.plan.memory_budget)
            for limit, nbytes in zip(self._limits, bounds, strict=True):
                limit.update(location=nbytes / 2**30, visible=True)
            self.memory.y_range.end = 1.08 * max(bounds) / 2**30
        self._draw(self.traffic, self._traffic, [(time - now, rate / 1e6) for time, rate in history.traffic])

    def _draw_lanes(self, history: RunHistory, now: float) -> None:
        shown = [task for task in history.tasks if task.ended > now - _SHOWN and task.worker <= _LANES]
        self._tasks.data = {
            "y": [task.worker for task in shown],
            "left": [task.started - now for task in shown],
            "right": [task.ended - now for task in shown],
            "colour": [_STAGE_COLOURS.get(task.stage, _GREY) for task in shown],
            "task": [f"{task.stage} {task.tile}, {task.ended - task.started:.2f} s" for task in shown],
        }
        lanes = min(max(len(history.workers), 1), _LANES)
        self.lanes.y_range.update(start=lanes + 0.5, end=0.5)
        self.lanes.height = 90 + 18 * lanes
        self.lanes.visible = bool(history.tasks)

    def _draw(self, drawn: figure, source: ColumnDataSource, points: list[tuple[float, float]]) -> None:
        shown = [point for point in points if point[0] > -_SHOWN]
        source.data = {"x": [x for x, _ in shown], "y": [y for _, y in shown]}
        drawn.visible = bool(points)
