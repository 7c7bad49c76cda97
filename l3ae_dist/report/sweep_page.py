"""The public :func:`sweep`: run it, and keep one page that shows what every hyper-parameter changes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.result import ResultDocument, comparisons_of
from l3ae_dist.pipeline.sweep import run_sweep
from l3ae_dist.report.formatting import params_text
from l3ae_dist.report.hyperparameters import figures_per_row, hyperparameter_figures, ridge_figure
from l3ae_dist.report.trials import Trials
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.output_files import PAGE, check_output, write_output
from l3ae_dist.storage.workspace import Workspace


def sweep(
    config: RunConfig,
    *,
    interactions: object = None,
    items: object = None,
    embeddings: object = None,
    on_event: OnEvent | None = None,
    plot: str | Path | None = None,
) -> ResultDocument:
    """Try every model of ``config.sweep``, pick on the validation split, and leave the best one fitted.

    What is finished is kept: a killed sweep goes on with the ridge it was at, a complete one answers at once.

    Parameters
    ----------
    config
        What to run; its sources are used where the arguments are None.
    interactions, items, embeddings
        DataFrames, arrays, paths or URLs.
    on_event
        Called with every event.
    plot
        Where to write the plot too, an HTML file; the workspace always has it.

    Returns
    -------
    dict
        The result of :func:`l3ae_dist.run`, with ``sweep`` (metric, table of all models with their
        validation metric, ridges and the seconds of their factorisations), ``models`` (the best of each
        member with all their validation and test metrics), ``comparisons`` (that of the configuration against
        each other on the test split, paired over users and corrected for how many) and ``plot`` (path or URL
        of the page).

    Raises
    ------
    ConfigError
        Without a sweep, for a model that is no linear member, for values that cannot be tried, when no user
        has validation items, and for a ``plot`` that cannot be written.
    """
    if plot is not None:
        check_output(plot, PAGE)
    result = run_sweep(config, Inputs(interactions, items, embeddings), on_event=on_event)
    return {**result, "plot": _write_page(result, plot)}


def _write_page(result: ResultDocument, path: str | Path | None) -> str:
    """Write the page into the workspace unless it is there, and to ``path``; return where it is."""
    workspace = Workspace.open(result["workspace"])
    key = layout.sweep_plot(result["run"])
    page = workspace.blobs.get(key)
    if page is None:
        page = sweep_page(result).encode()
        workspace.blobs.put(key, [page])
    if path is None:
        return f"{workspace.url}/{key}"
    return write_output(path, page, PAGE)


def sweep_page(result: ResultDocument) -> str:
    """Draw the page of a sweep from its result: HTML with everything inside that it needs."""
    from bokeh.embed import file_html
    from bokeh.layouts import column, gridplot
    from bokeh.models import Div
    from bokeh.resources import INLINE

    trials = Trials.of_result(result)
    assert trials is not None
    plots = [plot for _, plot in hyperparameter_figures(trials)]
    page = column(
        Div(text=_heading(result), width=900),
        ridge_figure(trials),
        gridplot(plots, ncols=figures_per_row(trials), toolbar_location=None, merge_tools=False),
    )
    return str(file_html(page, INLINE, title="l3ae_dist sweep"))


def _heading(result: ResultDocument) -> str:
    """Describe the picks side by side, and the comparisons, in HTML."""
    found, metric = result["sweep"], result["sweep"]["metric"]
    inverses = inverses_text(found["ridges"], found.get("inverses", 0))
    others = {one.models[1]: one for one in comparisons_of(result)}
    stopped = found.get("stopped", [])
    tried = Counter(row["model"] for row in [*found["table"], *stopped])
    headings = [
        "best of each",
        "tried",
        "parameters",
        f"validation {metric}",
        f"test {metric}",
        "the first over it",
    ]
    rows = []
    for name, model in result["models"].items():
        told = {**model["params"], **model.get("transform", {})}
        params = params_text({key: value for key, value in told.items() if value is not None})
        figures = [f"{model[split][metric]:.4f}" for split in ("valid", "test")]
        over = _lift(others[name]) if name in others else ""
        rows.append([f"<b>{name}</b>", f"{tried[name]:,}", params, *figures, over])
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return (
        f"<h2>{found['models']:,} models on {inverses}</h2>"
        f"<p>Picked by {metric} on the validation split ({found['valid_users']:,} users); the test split is "
        f"read for the picks alone.</p><table>{''.join(lines)}</table>"
        + (f"<p>{_stopped_text(len(stopped), found['scored_share'])}</p>" if stopped else "")
        + "".join(f"<p>{_sentence(one)}</p>" for one in others.values())
    )


def _stopped_text(models: int, share: float) -> str:
    return (
        f"{models:,} of these models were given up early, as probably worse than the best of their kind: "
        f"{share:.0%} of all scoring was done, and the figures show the others alone."
    )


def _row(kind: str, cells: Sequence[str]) -> str:
    style = "text-align: left; padding-right: 1.5em"
    return "<tr>" + "".join(f'<{kind} style="{style}">{cell}</{kind}>' for cell in cells) + "</tr>"


def _lift(one: PairedComparison) -> str:
    return f"{one.lift:+.2%} ({one.lift_low:+.2%} to {one.lift_high:+.2%})"


def _sentence(one: PairedComparison) -> str:
    ours, other = one.models
    return (
        f"{ours} over {other} on the test split: {one.lift:+.2%} ({one.interval} {one.lift_low:+.2%} to "
        f"{one.lift_high:+.2%}, {one.p_text}, paired over {one.users:,.0f} users)"
    )


def inverses_text(ridges: int, inverses: int) -> str:
    """Write how many ridges a sweep had, and how many inverses where p and beta make more of them.

    >>> inverses_text(2, 8), inverses_text(2, 2)
    ('2 ridges, 8 inverses', '2 ridges')
    """
    return f"{ridges} ridges" + (f", {inverses} inverses" if inverses > ridges else "")
