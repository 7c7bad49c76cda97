"""Figures as people read them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

PARTS = {"all": "all items", "head": "head items", "tail": "tail items"}
STAGES = {
    "ingest": "read the data",
    "embed": "embed the text",
    "gram": "Gram matrix X'X",
    "factor": "Cholesky factor L",
    "linv": "inverse of L",
    "invert": "P = inverse",
    "certify": "residual of P",
    "assemble": "vectors and factors of the models",
    "product": "P C, direct route",
    "score": "top lists of users",
    "rank": "ranks of held-out items",
}
"""What the stages make."""


def seconds_text(seconds: float) -> str:
    """A duration.

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


def figure_text(value: Any) -> str:
    """A number with about four digits; anything else as it is.

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


def setting_text(value: Any) -> str:
    """A configured value: numbers as they were written, lists with commas."""
    if isinstance(value, bool) or value is None:
        return figure_text(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting_text(item) for item in value) or "none"
    return str(value)


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:.{digits}f} %"


def signed_percent(share: float) -> str:
    """A change as per cent, with its sign."""
    return f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}")


def params_text(params: dict[str, float]) -> str:
    """Parameters of a model."""
    return ", ".join(f"{name} = {value:g}" for name, value in params.items()) or "no parameters"


def date_text(when: datetime | None) -> str:
    """A date and time in UTC."""
    return "" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_text(when: str | None) -> str:
    """A time as results keep it, in the same form.

    >>> iso_text("2026-11-25T16:18:01+00:00")
    '2026-11-25 16:18 UTC'
    """
    return date_text(datetime.fromisoformat(when)) if when else ""


def listed(parts: Sequence[str]) -> str:
    """Words with commas and a last "and".

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys.

    >>> flat({"model": {"reg_x": 1}, "workspace": "w"})
    {'model.reg_x': 1, 'workspace': 'w'}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
