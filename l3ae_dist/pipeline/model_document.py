"""Document of a fitted model: what it was made from, by what, and the arrays that it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.config.members import BY_TITLE, MEMBERS, Param, Route
from l3ae_dist.config.model_name import is_name
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.embed.encoder_identity import may_be_loaded
from l3ae_dist.embed.stored_transform import recorded_options
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.graphs.score_terms import ScoreTerms
from l3ae_dist.messages import shown
from l3ae_dist.solve.certificate import Certificate
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

MadeBy: TypeAlias = Literal["fit", "run", "sweep", "append", "update", "forget"]
"""Kind of the run that makes a model."""
# What a model is, apart from what is told of it: two documents that agree in these are one model.
_CONTENT = ("name", "params", "dataset", "embedding", "tile", "dtype", "terms", "reg_e", "route")


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
        Items of a tile, and dtype of the tiles.
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
    label
        Its name in the workspace; empty in documents of earlier versions.
    given
        True when a user chose that name.
    made
        When it was made, as ISO 8601 in UTC; empty where that is not known.
    by, parent
        What made it, and the name of the model that it grew from.
    arithmetic
        Dtype that tiles were computed in; empty in documents of earlier versions, where it is theirs.
    """

    name: str
    params: dict[str, Param]
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
    label: str = ""
    given: bool = False
    made: str = ""
    by: MadeBy = "run"
    parent: str | None = None
    arithmetic: str = ""

    def document(self) -> dict[str, object]:
        """Return the model as JSON-like values."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "terms"}
        return found | {"terms": self.terms.document(), "certificate": self.certificate.document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ModelDocument":
        """Read a model back from its document.

        Raises
        ------
        WorkspaceError
            For a name that no model can have: the document is not of this package, and names are paths.
        """
        label = document.get("label") or ""
        if not is_name(label) and label != "":
            raise WorkspaceError(
                f"a document of a model has the name {shown(label)}, which no model can have; it was "
                "edited, or made by something else: restore it, or fit the model again in a new workspace."
            )
        own = {one.name: document[one.name] for one in fields(cls) if one.name in document}
        terms = ScoreTerms.from_document(document["terms"])
        return cls(**own | {"terms": terms, "certificate": Certificate.from_document(own["certificate"])})

    def is_model(self, other: "ModelDocument") -> bool:
        """Tell whether the other document is of the same model, whatever run, name and date it tells."""
        return all(getattr(self, name) == getattr(other, name) for name in _CONTENT)

    def told_as(self, other: "ModelDocument") -> "ModelDocument":
        """Return this document with the name, the date and the maker of another."""
        told = ("run", "label", "given", "made", "by", "parent")
        return replace(self, **{name: getattr(other, name) for name in told})

    @property
    def paths(self) -> list[str]:
        """Paths of arrays that are there when the arrays of its scores are."""
        return [layout.first_array(path) for path in self.terms.paths()]

    @property
    def own_path(self) -> str:
        """Array by which the readers of this model are known: one that few other models share."""
        paths = self.terms.paths()
        return next((path for path in paths if layout.kind_of(path) is layout.Kind.MODELS), paths[-1])

    def summary(self) -> dict[str, object]:
        """Return name, member, parameters, date and maker, as results and ``status`` tell them."""
        return {
            "name": self.label,
            "member": self.name,
            "params": self.params,
            "made": self.made or None,
            "by": self.by,
            "parent": self.parent,
        }


def model_of_run(workspace: Workspace, run: str) -> ModelDocument | None:
    """Read the model that a run fitted; None without one, or when an array of it is gone."""
    document = workspace.read_doc(layout.fitted_model(run))
    if document is None:
        return None
    model = ModelDocument.from_document(document)
    return model if is_whole(workspace, model) else None


def has_records(workspace: Workspace, model: ModelDocument) -> bool:
    """Tell whether the completion records of a model's data, features and arrays are in the workspace."""
    wanted = {(Stage.INGEST, model.dataset)}
    wanted |= {maker for path in model.terms.paths() for maker in layout.makers(path)}
    if model.embedding is not None:
        wanted.add((layout.features_stage(model.embedding), model.embedding))
    return all(workspace.stage_done(stage, identifier) is not None for stage, identifier in wanted)


def is_whole(workspace: Workspace, model: ModelDocument) -> bool:
    """Tell whether the arrays of a model's scores are in the workspace."""
    return all(workspace.has(path) for path in model.paths)


def config_of_model(
    workspace: Workspace,
    document: ModelDocument,
    *,
    options: Mapping[str, object] | None = None,
    compute: Mapping[str, object] | None = None,
    evaluate: EvaluateConfig | None = None,
    trust_remote_code: bool = False,
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
    trust_remote_code
        Whether the user lets code of the encoder run; a recorded encoder that needs it is left out else.
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
        sections |= _feature_sections(workspace, document.embedding, trust_remote_code)
    return make_config(sections)


def _feature_sections(workspace: Workspace, features: str, trust_remote_code: bool) -> dict[str, object]:
    """Return the sections that make the same features again; no encoder that is unknown or not allowed."""
    record = workspace.require_stage(layout.features_stage(features), features).params
    if layout.are_words(features):
        return {"words": record}
    sections: dict[str, object] = {}
    if "source" in record:
        sections["transform"] = recorded_options(record)
        record = workspace.require_stage(Stage.EMBED, record["source"]).params
    known = not record.get("imported") and may_be_loaded(record, trust_remote_code=trust_remote_code)
    return {**sections, "encoder": record} if known else sections


def raw_embeddings(workspace: Workspace, features: str | None) -> str | None:
    """Name the embeddings that a model's features were made from; None for words and without text."""
    if features is None or layout.are_words(features):
        return None
    params = workspace.require_stage(Stage.EMBED, features).params
    return str(params.get("source", features))
