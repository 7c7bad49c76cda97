"""The metric over (reg_f, reg_e) at each ridge, and the best of each ridge."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
# More panels than that, or more values on an axis, are drawn as points instead of maps.
_PANELS = 12
_VALUES = 12
_COLOURS = {"L3AE": "#0072b2", "EASE": "#d55e00", "EASEText": "#009e73"}
_CELL = 62


def model_plots(rows: Sequence[Row], metric: str) -> list[tuple[str, Any]]:
    """The metric over L3AE's regularisers: a heat map for each ridge, or points where maps would be too many.

    Each comes with a sentence that tells the same; ``rows`` as in the table of a sweep.
    """
    ours = [row for row in rows if row["model"] == "L3AE"]
    if not ours:
        return []
    if _crowded(ours):
        names = ("ridge", "reg_f", "reg_e")
        return [
            (f"{metric} of {len(ours)} models over {name}.", _points(ours, name, metric)) for name in names
        ]
    outer = _outer(ours)
    best = max(ours, key=lambda row: float(row[metric]))
    found = []
    for value in _values(ours, outer):
        part = [row for row in ours if row[outer] == value]
        top = max(part, key=lambda row: float(row[metric]))
        sentence = (
            f"{metric} at {outer} {value:g}: {min(float(row[metric]) for row in part):.4f} to "
            f"{top[metric]:.4f}, the largest with reg_f {top['reg_f']:g} and reg_e {top['reg_e']:g}"
            + (", which is the best of all (framed)." if top is best else ".")
        )
        found.append((sentence, _map(f"{outer} = {value:g}", part, best, metric, _scale(ours, metric))))
    return found


def _crowded(ours: Sequence[Row]) -> bool:
    panels = len(_values(ours, _outer(ours)))
    return panels > _PANELS or any(len(_values(ours, name)) > _VALUES for name in ("reg_f", "reg_e"))


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return sorted({float(row[name]) for row in rows})


def _outer(rows: Sequence[Row]) -> str:
    """The panels' parameter: the ridge, or reg_x when the grid was laid over it."""
    return "ridge" if len(_values(rows, "ridge")) <= len(_values(rows, "reg_x")) else "reg_x"


def columns_of_maps(rows: Sequence[Row]) -> int:
    """Return how many plots of :func:`model_plots` stand side by side on the page of a sweep."""
    ours = [row for row in rows if row["model"] == "L3AE"]
    return 3 if _crowded(ours) else _columns(ours)


def _columns(rows: Sequence[Row]) -> int:
    return max(1, min(4, 1300 // (_CELL * len(_values(rows, "reg_e")) + 90)))


def _scale(rows: Sequence[Row], metric: str) -> Any:
    from bokeh.models import LinearColorMapper

    values = [float(row[metric]) for row in rows]
    low, high = min(values), max(values)
    return LinearColorMapper(palette="Viridis256", low=low, high=high if high > low else low + 1e-9)


def _map(title: str, rows: Sequence[Row], best: Row, metric: str, scale: Any) -> Any:
    """A heat map over reg_e (across) and reg_f (up), with the value in each cell and the best one framed."""
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    across = [f"{value:g}" for value in _values(rows, "reg_e")]
    up = [f"{value:g}" for value in _values(rows, "reg_f")]
    plot = figure(
        title=title, x_range=across, y_range=up, x_axis_label="reg_e", y_axis_label="reg_f",
        width=_CELL * len(across) + 90, height=44 * len(up) + 100, tools="hover", toolbar_location=None,
        tooltips=[("ridge", "@ridge"), ("reg_x", "@reg_x"), ("reg_f", "@reg_f"), ("reg_e", "@reg_e"),
                  (metric, "@value{0.00000}")],
    )  # fmt: skip
    # where black and white are equally easy to read on Viridis
    middle = scale.low + 0.43 * (scale.high - scale.low)
    data: dict[str, list[Any]] = {
        name: [f"{row[name]:g}" for row in rows] for name in ("ridge", "reg_x", "reg_f", "reg_e")
    }
    data["value"] = [float(row[metric]) for row in rows]
    data["text"] = [f"{row[metric]:.4f}" for row in rows]
    data["ink"] = ["black" if row[metric] > middle else "white" for row in rows]
    source = ColumnDataSource(data)
    fill = {"field": "value", "transform": scale}
    plot.rect("reg_e", "reg_f", 1, 1, source=source, fill_color=fill, line_color="white")
    plot.text(
        "reg_e", "reg_f", text="text", source=source, text_color="ink", text_align="center",
        text_baseline="middle", text_font_size="12px",
    )  # fmt: skip
    if best in rows:
        plot.rect(
            [f"{best['reg_e']:g}"], [f"{best['reg_f']:g}"], 0.94, 0.92, fill_alpha=0, line_color="#d40000",
            line_width=3,
        )  # fmt: skip
    plot.grid.visible = False
    plot.axis.axis_label_text_font_style = "normal"
    return plot


def _points(rows: Sequence[Row], name: str, metric: str) -> Any:
    """The metric of every model over one parameter."""
    from bokeh.plotting import figure

    values = [float(row[name]) for row in rows]
    plot = figure(
        title=f"{metric} over {name}", x_axis_label=name, y_axis_label=metric, width=430, height=330,
        x_axis_type="log" if min(values) > 0 else "linear", toolbar_location=None,
    )  # fmt: skip
    plot.scatter(values, [float(row[metric]) for row in rows], size=7, alpha=0.6, color=_COLOURS["L3AE"])
    plot.axis.axis_label_text_font_style = "normal"
    return plot


def ridges_plot(rows: Sequence[Row], metric: str) -> Any:
    """The best of each kind over the ridge; EASEText has none and is a level line, unless far below."""
    from bokeh.plotting import figure

    plot = figure(
        title=f"The best at each ridge, {metric} on the validation split", x_axis_label="ridge",
        y_axis_label=metric, x_axis_type="log", width=900, height=320, toolbar_location=None,
    )  # fmt: skip
    drawn: list[float] = []
    for name in ("L3AE", "EASE"):
        best: dict[float, float] = {}
        for row in rows:
            if row["model"] == name:
                best[row["ridge"]] = max(best.get(row["ridge"], -math.inf), float(row[metric]))
        ridges = sorted(best)
        drawn += best.values()
        line = {"color": _COLOURS[name], "legend_label": name}
        plot.line(ridges, [best[ridge] for ridge in ridges], line_width=2, **line)
        plot.scatter(ridges, [best[ridge] for ridge in ridges], size=8, **line)
    texts = [float(row[metric]) for row in rows if row["model"] == "EASEText"]
    ends = _values([row for row in rows if row["model"] in ("L3AE", "EASE")], "ridge")
    # so far below, it would press the others into one line
    if texts and max(texts) > min(drawn) - 3 * (max(drawn) - min(drawn)):
        plot.line(
            [ends[0], ends[-1]], [max(texts)] * 2, color=_COLOURS["EASEText"], line_dash="dashed",
            line_width=2, legend_label="EASEText (no ridge)",
        )  # fmt: skip
    if len(ends) <= _PANELS:
        plot.xaxis.ticker = ends
        plot.xaxis.major_label_overrides = {ridge: f"{ridge:g}" for ridge in ends}
    plot.axis.axis_label_text_font_style = "normal"
    plot.add_layout(plot.legend[0], "right")
    return plot
