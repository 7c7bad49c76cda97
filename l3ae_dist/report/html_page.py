"""HTML pages with everything inside: templates that escape, Bokeh's code, no way to the network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

from l3ae_dist.messages import neutral
from l3ae_dist.report.plots import Plot

# Draws what the page holds as JSON; opens what is folded before printing.
_LOADER = """
document.querySelectorAll("script.plot").forEach(function (data) {
  Bokeh.embed.embed_item(JSON.parse(data.textContent));
});
addEventListener("beforeprint", function () {
  document.querySelectorAll("details").forEach(function (part) { part.open = true; });
});
"""


def render(template: str, facts: Mapping[str, object], plots: Sequence[Plot]) -> str:
    """Render a page from a template of this package; every value is escaped.

    Scripts are allowed by their digests alone, and nothing may be loaded from anywhere.

    Parameters
    ----------
    template
        Name of a file in ``report/templates``.
    facts
        Values that the template names.
    plots
        Every plot that the template shows, in any order; without any the page has no scripts.

    Returns
    -------
    str
        One HTML document.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("l3ae_dist.report", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [*_bokeh(), _LOADER] if plots else []
    return environment.get_template(template).render(
        facts, plots=plots, scripts=scripts, policy=_policy(scripts)
    )


def _shown(value: object) -> object:
    """Escape what turns text around or hides it; markup that a template marks as safe stays."""
    return neutral(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _policy(scripts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _bokeh() -> tuple[str, ...]:
    """Return Bokeh's own code, without widgets and tables."""
    from bokeh.resources import Resources

    code = Resources(mode="inline", components=["bokeh"]).js_raw
    # in a script element, where its text must not end it
    return tuple(text.replace("</script", "<\\/script") for text in code)
