"""Lines on the models of a workspace: which is the current one, and what it replaced."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from l3ae_dist.cli.documents import Document
from l3ae_dist.config.members import param_text
from l3ae_dist.runtime.watch.terminal import plain_text

_SHOWN = ("ndcg@20", "recall@20")


def model_lines(told: Document) -> Iterator[Text]:
    """Yield what a result tells of its model, and of the one that it replaced."""
    if told.get("model"):
        yield plain_text(f"Model: {described(told['model'])}")
    if told.get("replaced"):
        yield plain_text(str(told["replaced"]["message"]))


def described(model: Document) -> str:
    """Say name, member, parameters, date and maker of a model in a line."""
    params = ", ".join(f"{name} {param_text(value)}" for name, value in model["params"].items())
    made = f", made {str(model['made'])[:16].replace('T', ' ')} UTC" if model.get("made") else ""
    joint = {"append": "to", "update": "of", "forget": "of users of"}.get(str(model["by"]))
    onto = f" {joint} {model['parent']}" if joint and model.get("parent") else ""
    return (
        f"{model['name']}, {model['member']}{f' ({params})' if params else ''}{made} by {model['by']}{onto}"
    )


def current_lines(model: Document | None) -> Iterator[Text]:
    """Yield what the current model is, what it replaced, its figures and its data; or that there is none."""
    if model is None:
        yield plain_text("Current model: none was fitted yet")
        return
    yield plain_text(f"Current model: {described(model)}")
    yield plain_text(f"  {figures_text(model['figures']) or 'not evaluated yet'}")
    if model.get("data"):
        yield plain_text(
            "  {interactions:,} interactions of {users:,} users and {items:,} items".format(**model["data"])
        )
    if model.get("replaced"):
        since = str(model.get("since") or "")[:16].replace("T", " ")
        yield plain_text(f"  Since {since} UTC: {model['replaced']['message']}")


def figures_text(figures: Mapping[str, float]) -> str:
    """Write the metrics of the test split that people look for first; empty for a model without any."""
    names = [name for name in _SHOWN if name in figures] or list(figures)[:2]
    shown = ", ".join(f"{name} {figures[name]:.4f}" for name in names)
    return f"test {shown}" if shown else ""


def other_lines(models: Sequence[Document]) -> Iterator[Text]:
    """Yield a line for each model of a workspace that is not the current one."""
    others = [model for model in models if not model["current"]]
    if others:
        yield Text("Other models:")
    for model in others:
        figures = figures_text(model["figures"])
        note = (f"; {figures}" if figures else "") if model["whole"] else "; its arrays are gone"
        yield plain_text(f"  {described(model)}{note}")
