"""Is everything here that a run needs, on every node: rows of what was found and what to do."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from l3ae_dist.operations.checks import judge
from l3ae_dist.operations.checks.facts import encoder_facts, node_facts
from l3ae_dist.operations.checks.nodes import HERE, cluster_rows
from l3ae_dist.operations.checks.ray_probe import ray_row
from l3ae_dist.operations.checks.row import Check, exit_code
from l3ae_dist.operations.checks.store import bounded_probe, client_key, find_place, store_rows
from l3ae_dist.storage.records import JsonObject

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig

Say = Callable[[str], None]


def examine(config: "RunConfig | None" = None, *, say: Say = lambda text: None) -> list[Check]:
    """Check this machine and, with a configuration, its store and every node of its cluster.

    Parameters
    ----------
    config
        Whose workspace, cluster and encoder; None for this machine alone.
    say
        Is told what is being looked at.

    Returns
    -------
    Rows in the order in which they were found. What does not answer is a row. Only keys of the probes are
    written, and those are deleted.
    """
    say("this machine")
    here = node_facts()
    elsewhere = config is not None and config.compute.cluster in ("address", "ray")
    device = "cpu" if config is None or elsewhere else config.compute.device
    checks = judge.node_rows(HERE, here, here, device=device)
    model = _encoder(config)
    on_nodes = config is not None and config.compute.cluster == "ray"
    if model is not None and not on_nodes:
        say("Ray")
        checks += [judge.encoder(HERE, encoder_facts(model), needed=config is not None), ray_row(HERE)]
    with contextlib.ExitStack() as stack:
        place, token = None, None
        if config is not None:
            say("the store")
            place, rows = find_place(config.workspace, HERE)
            checks += rows
        if place is not None:
            token = stack.enter_context(client_key(place))
            checks += store_rows(HERE, place.url, bounded_probe(place.root, place.prefix))
        say("the cluster")
        options = None if config is None else config.compute
        checks += cluster_rows(options, here, place, token, model if on_nodes else None)
    return checks


def _encoder(config: "RunConfig | None") -> str | None:
    """The model that a run would embed with, at its revision if it has one; None when it does not embed."""
    from l3ae_dist.config.embedding import EncoderConfig

    if config is None:
        return EncoderConfig.model_validate({}).resolved().model
    embeds = config.model.uses == "embeddings" and config.data.embeddings is None
    if not embeds or config.data.interactions is None:
        return None
    encoder = config.encoder.resolved()
    return f"{encoder.model}@{encoder.revision}" if encoder.revision else encoder.model


def report(checks: list[Check], seconds: float) -> JsonObject:
    """Return the rows and their summary as JSON-like values."""
    count = {name: sum(check.status == name for check in checks) for name in ("problem", "warning")}
    return {
        "ok": count["problem"] == 0,
        "problems": count["problem"],
        "warnings": count["warning"],
        "exit_code": exit_code(checks),
        "seconds": round(seconds, 1),
        "checks": [check.document() for check in checks],
    }
