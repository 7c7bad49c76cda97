"""Packages that only an extra of this package brings, asked for before anything starts that needs them."""

from importlib.util import find_spec
from typing import Literal

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named

Extra = Literal["embed", "ray", "gpu"]
_PACKAGES: dict[Extra, tuple[str, ...]] = {
    "embed": ("sentence_transformers", "torch", "ray", "huggingface_hub"),
    "ray": ("ray",),
    "gpu": ("torch",),
}


def require(extra: Extra, purpose: str) -> None:
    """Refuse what needs packages of an extra where they are not installed; none is imported.

    Parameters
    ----------
    extra
        The extra.
    purpose
        What needs it, such as ``compute.cluster: ray``.

    Raises
    ------
    ConfigError
        With the line that installs them.
    """
    missing = [name for name in _PACKAGES[extra] if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f"{purpose} needs {named(missing)}, which {verb} not installed; run "
            f"`pip install 'l3ae-dist[{extra}]'`."
        )
