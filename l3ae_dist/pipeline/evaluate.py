"""Evaluation of a fitted model: the last stage of a run alone, with the settings of the solve."""

from collections.abc import Mapping
from dataclasses import replace

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.stored_transform import kept_transform
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.corrections import changed_by, update_base
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import ModelDocument, config_of_model, raw_embeddings
from l3ae_dist.pipeline.named_models import Current, measured_model, read_model
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run, run_job
from l3ae_dist.planning.plan import Plan
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.solve.artifact_store import SolveSettings
from l3ae_dist.storage.workspace import Workspace


class EvaluateJob(Job):
    """A fit of a model that is there already, to measure it."""

    measures = True
    takes_updates = True

    def _settings(self, plan: Plan, executor: Executor) -> SolveSettings:
        """Let a change that was damaged be made again from the inverse that the model stands on."""
        settings, model = super()._settings(plan, executor), read_model(self.workspace, self._parent)
        if not settings.updates or changed_by(model) is None:
            return settings
        return replace(settings, update=update_base(self.workspace, model, plan))

    def _write_last(self, dataset: Dataset, embedding: str | None) -> None:
        """Leave what a later run without sources goes on with as it is."""

    def _keep(self, model: ModelDocument) -> Current:
        return measured_model(self.workspace, model, str(self._parent))


def evaluate_workspace(
    config: RunConfig, *, model: str | None = None, on_event: OnEvent | None = None
) -> ResultDocument:
    """Measure a fitted model of a workspace, beside EASE at its ridge, on the validation and test splits.

    With interactions in the configuration, and no model named, it is :func:`l3ae_dist.pipeline.run.run`.

    Parameters
    ----------
    config
        The workspace, and what is measured how.
    model
        Name of the model, whatever the configuration fits; the current one when None.
    on_event
        Called with every event.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    ConfigError
        When the configuration names another model, or nothing is held out.
    """
    if config.data.interactions is not None and model is None:
        return run(config, on_event=on_event)
    workspace = Workspace.open(config.workspace)
    document = read_model(workspace, model)
    given = config.compute.model_dump(exclude_unset=True)
    compute = given | solve_of(document, given)
    fitted = config_of_model(
        workspace,
        document,
        compute=compute,
        evaluate=config.evaluate,
        trust_remote_code=config.encoder.trust_remote_code,
    )
    if model is None and (
        config.grid or ("model" in config.model_fields_set and config.model.spec() != fitted.model.spec())
    ):
        raise ConfigError(
            f"evaluate measures the fitted model of {workspace.url}, which is {document.name} with "
            f"{document.params}; use `l3ae-dist run` to fit and measure another."
        )
    dataset = Dataset(workspace, document.dataset)
    if not dataset.nnz("valid") and not dataset.nnz("test"):
        raise ConfigError(
            f"{workspace.url} was fitted on every interaction, so nothing is held out to measure it on; "
            f"fit with data.options.split random instead of {dataset.options['split']}."
        )
    embedding = raw_embeddings(workspace, document.embedding)
    kept = kept_transform(workspace, document.embedding)
    source = Source(document.dataset, embedding, document.label, kept)
    return run_job(EvaluateJob, fitted, Inputs(), source=source, on_event=on_event)


def solve_of(document: ModelDocument, given: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that a model was solved with, which its evaluation or update cannot change.

    Parameters
    ----------
    document
        The model.
    given
        Section ``compute`` of the call.

    Raises
    ------
    ConfigError
        Where it asks for others.
    """
    own = {
        "dtype": document.dtype,
        "arithmetic": document.arithmetic or document.dtype,
        "semantic_route": document.route,
        "tile_size": document.tile,
    }
    for name, value in own.items():
        if given.get(name) not in (None, "auto", value):
            raise ConfigError(
                f"compute.{name} is {given[name]}, but the model {document.label} is used as it was "
                f"fitted, with {value}; leave the setting out, or use `l3ae-dist run` to fit another."
            )
    return own
