"""The models that a grid or a sweep tried: heat maps, the best of each ridge, and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from l3ae_dist.report.plots import Plot, styled
from l3ae_dist.report.words import figure_text

_SHOWN = 10


def tried(result: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Every model that was tried, with its validation metric, and the name of the metric."""
    if result.get("sweep"):
        return list(result["sweep"]["table"]), str(result["sweep"]["metric"])
    rows = list(result.get("grid") or [])
    return rows, list(rows[0])[-1] if rows else ""


def grid_plots(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Plot]:
    """The best of each ridge, then the metric over the regularisers; for L3AE alone."""
    from l3ae_dist.report.sweep_plot import model_plots, ridges_plot

    ours = [row for row in rows if row["model"] == "L3AE"]
    if len(ours) < 2:
        return []
    plots = []
    ridges = {row["ridge"] for row in ours}
    if len(ridges) > 1:
        figure = ridges_plot(rows, metric)
        legend = [(item.label.value, item.renderers[0].glyph.line_color) for item in figure.legend[0].items]
        figure.right = []
        figure = _fluid(figure, 280)
        best = max(ours, key=lambda row: float(row[metric]))
        sentence = (
            f"On the validation split {metric} of L3AE is largest, {best[metric]:.4f}, at ridge "
            f"{best['ridge']:g}, of {len(ridges)} ridges from {min(ridges):g} to {max(ridges):g}."
        )
        texts = [float(row[metric]) for row in rows if row["model"] == "EASEText"]
        if texts and not any(name.startswith("EASEText") for name, _ in legend):
            sentence += f" EASEText, which has no ridge, lies below the axis at {max(texts):.4f}."
        plots.append(
            Plot("ridges", f"The best {metric} at each ridge", figure, sentence, tuple(legend), True)
        )
    for number, (sentence, figure) in enumerate(model_plots(rows, metric)):
        title = figure.title.text
        plots.append(Plot(f"grid-{number}", title, _fluid(figure, figure.height), sentence))
    return plots


def _fluid(figure: Any, height: int) -> Any:
    """As wide as its place allows, but not wider than it was made."""
    figure.title = None
    figure.update(
        sizing_mode="stretch_width", max_width=figure.width, min_width=min(figure.width, 300), height=height,
        output_backend="svg",
    )  # fmt: skip
    figure.min_border_right = 16
    return styled(figure)


def best_rows(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the best models on the validation split, and the best of each other kind."""
    ordered = sorted(rows, key=lambda row: -float(row[metric]))
    seen: set[str] = set()
    shown = []
    for place, row in enumerate(ordered, start=1):
        if place <= _SHOWN or row["model"] not in seen:
            shown.append((place, row))
        seen.add(str(row["model"]))
    names = [n for n in ("ridge", "reg_x", "reg_f", "reg_e", "alpha", "rank") if any(n in r for r in rows)]
    metrics = [name for name in ordered[0] if "@" in name]
    cells = [
        [
            str(place),
            str(row["model"]),
            *(f"{row[name]:g}" if _has(row, name) else "" for name in names),
            *(figure_text(row[name]) for name in metrics),
        ]
        for place, row in shown
    ]
    return ["place", "model", *names, *metrics], cells


def _has(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) is not None and not (name == "ridge" and row["model"] == "EASEText")


def at_the_edge(rows: Sequence[Mapping[str, Any]], metric: str, name: str = "L3AE") -> list[str]:
    """Which regularisers of the best model are the smallest or largest that were tried."""
    own = [row for row in rows if row["model"] == name]
    if not own:
        return []
    best = max(own, key=lambda row: float(row[metric]))
    found = []
    for key in ("ridge", "reg_f", "reg_e"):
        values = sorted({float(row[key]) for row in own if row.get(key) is not None})
        if len(values) > 2 and best[key] in (values[0], values[-1]):
            found.append(f"{key} {best[key]:g} ({'smallest' if best[key] == values[0] else 'largest'})")
    return found
