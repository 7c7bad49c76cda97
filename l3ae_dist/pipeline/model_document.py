"""What a fitted model is made of, as a document: that of every run that fitted one, and the current one."""

from collections.abc import Mapping
from typing import Any

from l3ae_dist.config.load import make_config
from l3ae_dist.config.members import BY_TITLE, MEMBERS
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import StageMissingError
from l3ae_dist.graphs.terms import ScoreTerms
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def read_model(workspace: Workspace) -> dict[str, Any]:
    """The current model's document; raises :class:`StageMissingError` when none was fitted."""
    document = workspace.read_doc(layout.CURRENT_MODEL)
    if document is None:
        raise StageMissingError(f"{workspace.url} holds no fitted model; run `l3ae-dist fit` first.")
    return document


def write_model(workspace: Workspace, document: dict[str, Any]) -> None:
    """Make a model the current one, and keep its document under its run."""
    workspace.write_doc(layout.fitted_model(document["run"]), document)
    workspace.write_doc(layout.CURRENT_MODEL, document)


def model_of_run(workspace: Workspace, run: str) -> dict[str, Any] | None:
    """The document of the model that a run fitted; None without one, or when an array of it is gone."""
    document = workspace.read_doc(layout.fitted_model(run))
    if document is None:
        return None
    paths = ScoreTerms.from_document(document["head"]).paths()
    return document if all(workspace.has(layout.first_array(path)) for path in paths) else None


def config_of_model(
    workspace: Workspace,
    document: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    compute: Mapping[str, Any] | None = None,
    **sections: Any,
) -> RunConfig:
    """The configuration that fits a model again: its data options, parameters, features and tile size.

    Parameters
    ----------
    workspace, document
        The model.
    options, compute
        Changes to the ingest options and to the ``compute`` section.
    sections
        Further sections of the configuration.
    """
    recorded = workspace.require_stage(Stage.INGEST, document["dataset"]).params
    name = next(key for key, member in MEMBERS.items() if member.title == document["name"])
    values: dict[str, Any] = {
        "workspace": workspace.url,
        "data": {"options": {**recorded, **(options or {})}},
        "model": {"name": name, **document["params"]},
        "compute": {"tile_size": document["tile"], **(compute or {})},
        **sections,
    }
    features = document["embedding"]
    if features is None:
        return make_config(values)
    words = layout.are_words(features)
    if BY_TITLE[document["name"]].features is not None:
        values["model"]["features"] = "words" if words else "embeddings"
    record = workspace.require_stage(layout.features_stage(features), features).params
    if words:
        return make_config({**values, "words": record})
    if "source" in record:
        values["transform"] = {key: value for key, value in record.items() if key != "source"}
        record = workspace.require_stage(Stage.EMBED, record["source"]).params
    if not record.get("imported"):
        values["encoder"] = record
    return make_config(values)


def raw_embeddings(workspace: Workspace, features: str | None) -> str | None:
    """The embeddings that a model's features were made from; None for words and without text."""
    if features is None or layout.are_words(features):
        return None
    params = workspace.require_stage(Stage.EMBED, features).params
    return str(params.get("source", features))
