"""The public :func:`sweep`: run it, and keep one page that shows what every hyper-parameter changes."""

from pathlib import Path

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.result import ResultDocument, comparisons_of
from l3ae_dist.pipeline.sweep import run_sweep
from l3ae_dist.report.hyperparameters import Trials, figures_per_row, hyperparameter_figures, ridge_figure
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage import layout
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
    """Try every model of ``config.sweep``, pick on the validation split, and leave the best L3AE fitted.

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
        validation metric, ridges and the seconds of their factorisations), ``models`` (the picks of L3AE,
        EASE and EASEText with all their validation and test metrics), ``comparisons`` (L3AE against both on
        the test split, paired over users) and ``plot`` (path or URL of the page).

    Raises
    ------
    ConfigError
        Without a sweep, for another model than l3ae, when no user has validation items, and for a ``plot``
        that cannot be written.
    """
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
    try:
        Path(path).write_bytes(page)
    except OSError as error:
        raise ConfigError(
            f"cannot write the plot to {path} ({error.strerror}); choose another path."
        ) from error
    return str(path)


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
    """Describe the picks and the comparisons in HTML."""
    found, metric = result["sweep"], result["sweep"]["metric"]
    lines = [
        f"<h2>{found['models']} models on {found['ridges']} ridges</h2>",
        f"<p>Picked by {metric} on the validation split ({found['valid_users']:,} users):</p><ul>",
    ]
    for name, model in result["models"].items():
        params = ", ".join(f"{key} = {value:g}" for key, value in model["params"].items())
        lines.append(
            f"<li><b>{name}</b> ({params}): validation {model['valid'][metric]:.4f}, "
            f"test {model['test'][metric]:.4f}</li>"
        )
    lines.append("</ul>")
    for one in comparisons_of(result):
        ours, other = one.models
        lines.append(
            f"<p>{ours} over {other} on the test split: {one.lift:+.2%} (95 % interval "
            f"{one.lift_low:+.2%} to {one.lift_high:+.2%}, p = {one.p_value:.2g}, paired over "
            f"{one.users:,.0f} users)</p>"
        )
    return "".join(lines)
