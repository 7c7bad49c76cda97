"""Plots of the validation metrics of a search (a grid or a sweep) over the hyper-parameters.

They are of L3AE, or of the best member without it, beside the best of each other member at the same ridges.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l3ae_dist.report.formatting import figure_text
from l3ae_dist.report.plots import GREY, MODEL_COLOURS, Plot, styled
from l3ae_dist.report.trials import PARAMETERS, Trials

if TYPE_CHECKING:
    from bokeh.models import LinearColorMapper
    from bokeh.plotting import figure as Figure

# More panels than that, or more values on an axis, are drawn as points instead of heat maps.
_MOST_PANELS = 12
_MOST_VALUES = 12
_CELL_PIXELS = 62
_PAGE_PIXELS = 1300
_BEST_SHOWN = 10
_MAPPED = tuple(name for name in PARAMETERS if name not in ("a", "b", "rank"))
# Values beyond which there are none.
_LIMITS = {"whiten": (0.0, 1.0), "p": (0.0,), "alpha": (0.0,), "beta": (0.0,), "xi": (0.0,)}


# ---- text


def values_at_the_edge(trials: Trials, model: str = "L3AE") -> list[str]:
    """List the hyper-parameters of the best model whose value is the smallest or largest that was tried.

    A hyper-parameter counts from three values on.
    """
    own = trials.of(model)
    if not own.all:
        return []
    edges = []
    for name in ("ridge", "reg_f", "reg_e", "truncate_dim", *_LIMITS):
        bounds, best = own.bounds(name), own.best.parameters.get(name)
        if best is None or bounds is None or best in _LIMITS.get(name, ()):
            continue
        if best in bounds:
            edges.append(f"{name} {best:g} ({'smallest' if best == bounds[0] else 'largest'})")
    return edges


def best_trials(trials: Trials) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of a table: the ten best trials, and the best of each further model."""
    ordered = sorted(trials.all, key=lambda trial: -trials.value(trial))
    seen: set[str] = set()
    shown = []
    for place, trial in enumerate(ordered, start=1):
        if place <= _BEST_SHOWN or trial.model not in seen:
            shown.append((place, trial))
        seen.add(trial.model)
    parameters = [name for name in PARAMETERS if any(trial.told(name) for trial in trials.all)]
    metrics = list(ordered[0].metrics)
    rows = [
        [
            str(place),
            trial.model,
            *(trial.told(name) for name in parameters),
            *(figure_text(trial.metrics[name]) for name in metrics),
        ]
        for place, trial in shown
    ]
    return ["place", "model", *parameters, *metrics], rows


# ---- figures


def search_plots(trials: Trials) -> list[Plot]:
    """Draw the best model at each ridge, then the metric over the hyper-parameters, for a report.

    There are no plots of fewer than two models.
    """
    ours = trials.of(trials.own)
    if len(ours.all) < 2:
        return []
    plots = [_ridge_plot(trials)] if len(ours.values("ridge")) > 1 else []
    for number, (sentence, plot) in enumerate(hyperparameter_figures(trials)):
        title = plot.title.text
        plots.append(Plot(f"grid-{number}", title, _fluid(plot, plot.height), sentence))
    return plots


def _ridge_plot(trials: Trials) -> Plot:
    ours, metric = trials.of(trials.own), trials.metric
    plot = ridge_figure(trials)
    legend = [(item.label.value, item.renderers[0].glyph.line_color) for item in plot.legend[0].items]
    plot.right = []
    ridges, best = ours.values("ridge"), ours.best
    sentence = (
        f"On the validation split {metric} of {trials.own} is largest, {ours.value(best):.4f}, at ridge "
        f"{best.parameters['ridge']:g}, of {len(ridges)} ridges from {min(ridges):g} to {max(ridges):g}."
    )
    texts = trials.of("EASEText").scores
    if texts and not any(name.startswith("EASEText") for name, _ in legend):
        sentence += f" EASEText, which has no ridge, lies below the axis at {max(texts):.4f}."
    title = f"The best {metric} at each ridge"
    return Plot("ridges", title, _fluid(plot, 280), sentence, tuple(legend), wide=True)


def _fluid(plot: "Figure", height: int) -> "Figure":
    """Let a figure fill its place, up to the width that it was made with."""
    plot.title = None
    plot.update(
        sizing_mode="stretch_width", max_width=plot.width, min_width=min(plot.width, 300), height=height,
        output_backend="svg",
    )  # fmt: skip
    plot.min_border_right = 16
    return styled(plot)


def hyperparameter_figures(trials: Trials) -> list[tuple[str, "Figure"]]:
    """Draw the metric over the hyper-parameters, each figure with a sentence that tells the same.

    There is a heat map over (reg_f, reg_e) for each ridge, or for each reg_x where fewer of these were tried;
    where maps would be too many or too large, the metric of all models over each hyper-parameter. Of models
    that differ in other hyper-parameters alone, the best is drawn.
    """
    ours = trials.of(trials.own)
    if not ours.has_text:
        names = tuple(name for name in _MAPPED if len(ours.values(name)) > 1)
        names = tuple(name for name in names if name not in ("ridge", "reg_x"))  # the ridge has its figure
        return [
            (f"{ours.metric} of {len(ours.all)} models over {name}.", _scatter_plot(ours, name))
            for name in names
        ]
    ours = ours.best_of("ridge", "reg_x", "reg_f", "reg_e")
    if _too_many_for_maps(ours):
        names = ("ridge", "reg_f", "reg_e")
        return [
            (f"{ours.metric} of {len(ours.all)} models over {name}.", _scatter_plot(ours, name))
            for name in names
        ]
    outer = _panel_parameter(ours)
    return [
        (_panel_sentence(ours, outer, value), _heat_map(f"{outer} = {value:g}", ours.at(outer, value), ours))
        for value in ours.values(outer)
    ]


def figures_per_row(trials: Trials) -> int:
    """Return how many of :func:`hyperparameter_figures` stand side by side on the page of a sweep."""
    ours = trials.of(trials.own).best_of("ridge", "reg_x", "reg_f", "reg_e")
    if not ours.has_text or _too_many_for_maps(ours):
        return 3
    return max(1, min(4, _PAGE_PIXELS // (_CELL_PIXELS * len(ours.values("reg_e")) + 90)))


def _too_many_for_maps(ours: Trials) -> bool:
    panels = len(ours.values(_panel_parameter(ours)))
    return panels > _MOST_PANELS or any(len(ours.values(name)) > _MOST_VALUES for name in ("reg_f", "reg_e"))


def _panel_parameter(ours: Trials) -> str:
    """Return the hyper-parameter of the panels: the ridge, or reg_x where the grid was laid over it."""
    return "ridge" if len(ours.values("ridge")) <= len(ours.values("reg_x")) else "reg_x"


def _panel_sentence(ours: Trials, outer: str, value: float) -> str:
    panel = ours.at(outer, value)
    top = panel.best
    return (
        f"{ours.metric} at {outer} {value:g}: {min(panel.scores):.4f} to {panel.value(top):.4f}, the largest "
        f"with reg_f {top.parameters['reg_f']:g} and reg_e {top.parameters['reg_e']:g}"
        + (", which is the best of all (framed)." if top is ours.best else ".")
    )


def _colour_scale(ours: Trials) -> "LinearColorMapper":
    from bokeh.models import LinearColorMapper

    low, high = min(ours.scores), max(ours.scores)
    return LinearColorMapper(palette="Viridis256", low=low, high=high if high > low else low + 1e-9)


def _heat_map(title: str, panel: Trials, ours: Trials) -> "Figure":
    """Draw one panel over reg_e (across) and reg_f (up): the value in each cell, the best of all framed."""
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    across = [f"{value:g}" for value in panel.values("reg_e")]
    up = [f"{value:g}" for value in panel.values("reg_f")]
    # of models that differ in other hyper-parameters the best is drawn
    names = [name for name in _MAPPED if any(trial.told(name) for trial in panel.all)]
    plot = figure(
        title=title, x_range=across, y_range=up, x_axis_label="reg_e", y_axis_label="reg_f",
        width=_CELL_PIXELS * len(across) + 90, height=44 * len(up) + 100, tools="hover",
        toolbar_location=None,
        tooltips=[*((name, f"@{name}") for name in names), (panel.metric, "@value{0.00000}")],
    )  # fmt: skip
    scale = _colour_scale(ours)
    # where black and white are equally easy to read on Viridis
    middle = scale.low + 0.43 * (scale.high - scale.low)
    cells: dict[str, Sequence[object]] = {name: [trial.told(name) for trial in panel.all] for name in names}
    cells["value"] = panel.scores
    cells["text"] = [f"{score:.4f}" for score in panel.scores]
    cells["ink"] = ["black" if score > middle else "white" for score in panel.scores]
    source = ColumnDataSource(cells)
    fill = {"field": "value", "transform": scale}
    plot.rect("reg_e", "reg_f", 1, 1, source=source, fill_color=fill, line_color="white")
    plot.text(
        "reg_e", "reg_f", text="text", source=source, text_color="ink", text_align="center",
        text_baseline="middle", text_font_size="12px",
    )  # fmt: skip
    if ours.best in panel.all:
        best = ours.best.parameters
        plot.rect(
            [f"{best['reg_e']:g}"], [f"{best['reg_f']:g}"], 0.94, 0.92, fill_alpha=0, line_color="#d40000",
            line_width=3,
        )  # fmt: skip
    plot.grid.visible = False
    plot.axis.axis_label_text_font_style = "normal"
    return plot


def _scatter_plot(ours: Trials, parameter: str) -> "Figure":
    """Draw the metric of every trial over one hyper-parameter."""
    from bokeh.plotting import figure

    ours = Trials(tuple(trial for trial in ours.all if parameter in trial.parameters), ours.metric)
    values = [float(trial.parameters[parameter]) for trial in ours.all]
    plot = figure(
        title=f"{ours.metric} over {parameter}", x_axis_label=parameter, y_axis_label=ours.metric, width=430,
        height=330, x_axis_type="log" if min(values) > 0 else "linear", toolbar_location=None,
    )  # fmt: skip
    plot.scatter(values, ours.scores, size=7, alpha=0.6, color=MODEL_COLOURS.get(ours.own, GREY))
    plot.axis.axis_label_text_font_style = "normal"
    return plot


def ridge_figure(trials: Trials) -> "Figure":
    """Draw the best of each member over the ridge.

    EASEText has no ridge: it is a level line, or is left out where it lies far below the others.
    """
    from bokeh.plotting import figure

    plot = figure(
        title=f"The best at each ridge, {trials.metric} on the validation split", x_axis_label="ridge",
        y_axis_label=trials.metric, x_axis_type="log", width=900, height=320, toolbar_location=None,
    )  # fmt: skip
    drawn: list[float] = []
    for name in trials.with_ridge:
        best = trials.of(name).best_by_ridge()
        drawn += best.values()
        line = {"color": MODEL_COLOURS.get(name, GREY), "legend_label": name}
        plot.line(list(best), list(best.values()), line_width=2, **line)
        plot.scatter(list(best), list(best.values()), size=8, **line)
    texts = trials.of("EASEText").scores
    ridges = trials.of(*trials.with_ridge).values("ridge")
    # so far below, it would press the others into one line
    if texts and max(texts) > min(drawn) - 3 * (max(drawn) - min(drawn)):
        plot.line(
            [ridges[0], ridges[-1]], [max(texts)] * 2, color=MODEL_COLOURS["EASEText"], line_dash="dashed",
            line_width=2, legend_label="EASEText (no ridge)",
        )  # fmt: skip
    if len(ridges) <= _MOST_PANELS:
        plot.xaxis.ticker = ridges
        plot.xaxis.major_label_overrides = {ridge: f"{ridge:g}" for ridge in ridges}
    plot.axis.axis_label_text_font_style = "normal"
    plot.add_layout(plot.legend[0], "right")
    return plot
