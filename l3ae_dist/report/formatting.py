"""Numbers, durations, dates, settings and lists as text for people."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from l3ae_dist.config.members import Param, param_text
from l3ae_dist.storage.stages import Stage

PART_NAMES = {"all": "all items", "head": "head items", "tail": "tail items"}
"""Parts of the catalog on which metrics are measured."""
STAGE_PRODUCTS: Mapping[str, str] = {
    Stage.INGEST: "read the data",
    Stage.EMBED: "embed the text",
    Stage.TRANSFORM: "transform the embeddings",
    Stage.GRAM: "Gram matrix X'X",
    Stage.FACTOR: "Cholesky factor L",
    Stage.LINV: "inverse of L",
    Stage.INVERT: "P = inverse",
    Stage.CERTIFY: "residual of P",
    Stage.ASSEMBLE: "vectors and factors of the models",
    Stage.PRODUCT: "P C, direct route",
    Stage.SCORE: "top lists of users",
    Stage.RANK: "ranks of held-out items",
}
"""Product of each stage."""


def seconds_text(seconds: float) -> str:
    """Format a duration in seconds.

    >>> [seconds_text(s) for s in (0.042, 4.26, 75, 4000)]
    ['0.04 s', '4.3 s', '1 min 15 s', '1 h 07 min']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def figure_text(value: object) -> str:
    """Format a number with about four significant digits; any other value as ``str`` does.

    >>> [figure_text(v) for v in (0.23711, 2.07e-07, 9066, True, None, 1234567.0)]
    ['0.2371', '2.07e-07', '9,066', 'yes', 'none', '1.23e+06']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.4g}"
    return f"{value:.2e}"


def setting_text(value: object) -> str:
    """Format a configured value: numbers as they were written, lists with commas."""
    if isinstance(value, bool) or value is None:
        return figure_text(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting_text(item) for item in value) or "none"
    return str(value)


def percent(share: float, digits: int = 1) -> str:
    """Format a share of 1 as a percentage."""
    return f"{100 * share:.{digits}f} %"


def signed_percent(share: float) -> str:
    """Format a relative change as a percentage with its sign."""
    return f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}")


def params_text(params: Mapping[str, Param]) -> str:
    """Format the hyper-parameters of a model."""
    return ", ".join(f"{name} = {param_text(value)}" for name, value in params.items()) or "no parameters"


def date_text(when: datetime | None) -> str:
    """Format a date and time in UTC; an empty string for None."""
    return "" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_text(when: str | None) -> str:
    """Format an ISO 8601 time, as results keep it, as :func:`date_text` does.

    >>> iso_text("2026-11-25T16:18:01+00:00")
    '2026-11-25 16:18 UTC'
    """
    return date_text(datetime.fromisoformat(when)) if when else ""


def listed(parts: Sequence[str]) -> str:
    """Join words with commas and a last "and".

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested mappings into one dictionary with dotted keys.

    >>> flat({"model": {"reg_x": 1}, "workspace": "w"})
    {'model.reg_x': 1, 'workspace': 'w'}
    """
    flattened: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened
