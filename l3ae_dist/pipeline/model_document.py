"""Document of the parts of a fitted model: that of every run that fitted one, and the current one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.config.members import BY_TITLE, MEMBERS, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import StageMissingError
from l3ae_dist.graphs.score_terms import ScoreTerms
from l3ae_dist.solve.certificate import Certificate
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ModelDocument:
    """A fitted model: what it was made from, and the arrays that it is made of.

    Parameters
    ----------
    name, params
        Title and parameters of the member.
    dataset, embedding
        Ids of the data and of the item features; None for models without text.
    tile, dtype
        Items of a tile, and dtype of the solve.
    arrays
        Paths of the arrays that calls and tools know by name; None for those that the model does not have.
    terms
        The sum that its scores are.
    reg_e, route
        Weight of the semantic phase, and its route.
    certificate
        How exactly its system was solved.
    run
        Id of the run that fitted it.
    """

    name: str
    params: dict[str, float]
    dataset: str
    embedding: str | None
    tile: int
    dtype: str
    arrays: dict[str, str | None]
    terms: ScoreTerms
    reg_e: float
    route: Route
    certificate: Certificate
    run: str

    def document(self) -> dict[str, object]:
        """Return the model as JSON-like values."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "terms"}
        return found | {"terms": self.terms.document(), "certificate": self.certificate.document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ModelDocument":
        """Read a model back from its document."""
        own = {one.name: document[one.name] for one in fields(cls) if one.name != "terms"}
        terms = ScoreTerms.from_document(document["terms"])
        return cls(**own | {"terms": terms, "certificate": Certificate.from_document(own["certificate"])})


def read_model(workspace: Workspace) -> ModelDocument:
    """Read the current model.

    Raises
    ------
    StageMissingError
        When none was fitted.
    """
    document = workspace.read_doc(layout.CURRENT_MODEL)
    if document is None:
        raise StageMissingError(f"{workspace.url} holds no fitted model; run `l3ae-dist fit` first.")
    return ModelDocument.from_document(document)


def write_model(workspace: Workspace, model: ModelDocument) -> None:
    """Make a model the current one, and keep its document under its run."""
    document = model.document()
    workspace.write_doc(layout.fitted_model(model.run), document)
    workspace.write_doc(layout.CURRENT_MODEL, document)


def is_current(workspace: Workspace, model: ModelDocument) -> bool:
    """Tell whether a model is the one that calls use."""
    document = workspace.read_doc(layout.CURRENT_MODEL)
    return document is not None and ModelDocument.from_document(document) == model


def model_of_run(workspace: Workspace, run: str) -> ModelDocument | None:
    """Read the model that a run fitted; None without one, or when an array of it is gone."""
    document = workspace.read_doc(layout.fitted_model(run))
    if document is None:
        return None
    model = ModelDocument.from_document(document)
    paths = (layout.first_array(path) for path in model.terms.paths())
    return model if all(workspace.has(path) for path in paths) else None


def config_of_model(
    workspace: Workspace,
    document: ModelDocument,
    *,
    options: Mapping[str, object] | None = None,
    compute: Mapping[str, object] | None = None,
    evaluate: EvaluateConfig | None = None,
) -> RunConfig:
    """Make the configuration that fits a model again: its data options, parameters, features and tile size.

    Parameters
    ----------
    workspace, document
        The model.
    options, compute
        Changes to the ingest options and to the ``compute`` section.
    evaluate
        Section of that name; its defaults when None.
    """
    recorded = workspace.require_stage(Stage.INGEST, document.dataset).params
    name = next(key for key, member in MEMBERS.items() if member.title == document.name)
    model: dict[str, object] = {"name": name, **document.params}
    sections: dict[str, object] = {
        "workspace": workspace.url,
        "data": {"options": {**recorded, **(options or {})}},
        "model": model,
        "compute": {"tile_size": document.tile, **(compute or {})},
        **({} if evaluate is None else {"evaluate": evaluate}),
    }
    if document.embedding is not None:
        if BY_TITLE[document.name].features is not None:
            model["features"] = "words" if layout.are_words(document.embedding) else "embeddings"
        sections |= _feature_sections(workspace, document.embedding)
    return make_config(sections)


def _feature_sections(workspace: Workspace, features: str) -> dict[str, object]:
    """Return the sections that make the same features again; none for embeddings that were given."""
    record = workspace.require_stage(layout.features_stage(features), features).params
    if layout.are_words(features):
        return {"words": record}
    sections: dict[str, object] = {}
    if "source" in record:
        sections["transform"] = {key: value for key, value in record.items() if key != "source"}
        record = workspace.require_stage(Stage.EMBED, record["source"]).params
    return sections if record.get("imported") else {**sections, "encoder": record}


def raw_embeddings(workspace: Workspace, features: str | None) -> str | None:
    """Name the embeddings that a model's features were made from; None for words and without text."""
    if features is None or layout.are_words(features):
        return None
    params = workspace.require_stage(Stage.EMBED, features).params
    return str(params.get("source", features))
