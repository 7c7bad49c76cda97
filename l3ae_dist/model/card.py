"""The card of a fitted model, as notebooks show it."""

from html import escape

from l3ae_dist.config.members import param_text
from l3ae_dist.messages import visible
from l3ae_dist.model.model_arrays import ModelArrays

_STYLE = "border-collapse:collapse;font-family:system-ui,sans-serif;font-size:13px;text-align:left"
_CELL = "text-align:left;padding:2px 16px 2px 0;border:none;vertical-align:top"


def model_card(model: ModelArrays) -> str:
    """Return name, data, certificate and place of a model as HTML; every text of the user's is escaped.

    Parameters
    ----------
    model
        The fitted model.
    """
    stats, certificate = model.dataset.stats, model.certificate
    interactions = sum(stats.nnz.get(split, 0) for split in ("train", "valid", "test"))
    params = ", ".join(f"{name} = {param_text(value)}" for name, value in model.params.items())
    rows = {
        "parameters": params or "none",
        "data": f"{interactions:,} interactions of {stats.n_users:,} users and {stats.n_items:,} items",
        "solved to": f"residual {certificate['residual']:.1e} of at most {certificate['tolerance']:.1e}",
        "workspace": model.workspace.url,
    }
    cells = "".join(
        f'<tr><th style="{_CELL};font-weight:500;opacity:0.7">{name}</th>'
        f'<td style="{_CELL}">{escape(visible(value))}</td></tr>'
        for name, value in rows.items()
    )
    title = f"{escape(model.name)} <span style='opacity:0.7'>{escape(visible(model.label))}</span>"
    caption = f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{title}</caption>'
    return f'<table style="{_STYLE}">{caption}{cells}</table>'
