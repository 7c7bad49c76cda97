"""Runs of a workspace as runs of MLflow: settings, metrics, certificate, report; exports as its models."""

import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from l3ae_dist import __version__
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import one_line
from l3ae_dist.pipeline.copies_elsewhere import note_copy
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.pipeline.run import FINISHED
from l3ae_dist.report import tables
from l3ae_dist.report.formatting import flat
from l3ae_dist.report.model_card import model_card
from l3ae_dist.report.run import RunRecord, find_run, read_run
from l3ae_dist.report.run_page import run_page
from l3ae_dist.serving import load_export
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

# Characters of a parameter that MLflow takes at most.
_MOST = 6000
# A model from code, which loading does not unpickle; MLflow runs it beside the export.
_CODE = '''"""An export of l3ae_dist as a model of MLflow."""

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from l3ae_dist.serving import load_export


class Export(PythonModel):
    def load_context(self, context):
        self._model = load_export(context.artifacts["export"])

    def predict(self, context, model_input: pd.DataFrame, params=None):
        model, n = self._model, int((params or {}).get("n", 20))
        if model_input[["user_id", "item_id"]].isna().any(axis=None):
            raise ValueError("a history has a row without user_id or item_id; leave it out")
        codes, users = pd.factorize(model_input["user_id"])
        histories = [[] for _ in users]
        for user, item in zip(codes, model_input["item_id"].tolist(), strict=True):
            histories[user].append(item)
        rows, scores = model.recommend(histories, n)
        lists = [
            {"user_id": user, **item, "rank": rank}
            for user, named in zip(users, model.named(rows, scores), strict=True)
            for rank, item in enumerate(named, 1)
        ]
        return pd.DataFrame(lists, columns=["user_id", "item_id", "title", "rank", "score"])


mlflow.models.set_model(Export())
'''


def log_run(workspace: str | Path, run: str | None = None) -> str:
    """Write a run to MLflow: to its active run, or to a new one, whose id is returned.

    Parameters
    ----------
    workspace
        Path or URL.
    run
        Id of the run or the beginning of it; the latest when None.

    Returns
    -------
    The id of MLflow's run. Its parameters are the settings that differ from the defaults; its metrics those
    of the test split, with ``@`` written as ``_at_``, and the certificate; its artefacts the report, the
    model card and the result.

    Raises
    ------
    ConfigError
        When MLflow is not installed, with how to install it.
    StageMissingError
        When the workspace holds no run.
    """
    mlflow = _mlflow()
    opened = Workspace.open(workspace)
    record = read_run(opened, find_run(opened, run))
    if mlflow.active_run() is not None:
        return _log(mlflow, record)
    label = record.run if record.fitted is None else str(record.fitted.get("label") or record.run)
    with mlflow.start_run(run_name=label):
        return _log(mlflow, record)


def autolog(*, disable: bool = False) -> None:
    """Write every run of this process that ends from now on to MLflow, as :func:`log_run` does.

    A run that cannot be written is a warning, and does not fail.

    Parameters
    ----------
    disable
        End it.
    """
    if not disable:
        _mlflow()
    FINISHED[:] = [one for one in FINISHED if one is not _told]
    if not disable:
        FINISHED.append(_told)


def log_export(export: str | Path, name: str = "model") -> str:
    """Write an export to MLflow as a model that recommends, and return its URI.

    The model takes a table of histories (``user_id``, ``item_id``) and the parameter ``n``, and returns a
    table of lists (``user_id``, ``item_id``, ``title``, ``rank``, ``score``). It is loaded from code and
    checked files, without unpickling.

    Parameters
    ----------
    export
        Folder that :meth:`~l3ae_dist.model.fitted.FittedModel.export_weights` wrote.
    name
        Of the model within MLflow's run.

    Raises
    ------
    ConfigError
        When MLflow is not installed.
    WorkspaceError
        When the folder holds no sound export.
    """
    _mlflow()
    from mlflow import pyfunc

    load_export(str(export))  # refuses what is damaged
    with tempfile.TemporaryDirectory(prefix="l3ae-mlflow-") as folder:
        (code := Path(folder) / "recommender.py").write_text(_CODE)
        logged = pyfunc.log_model(
            name=name,
            python_model=str(code),
            artifacts={"export": str(export)},
            signature=_signature(),
            pip_requirements=[f"l3ae-dist=={__version__}", *_versions("numpy", "scipy", "pandas")],
        )
    return str(logged.model_uri)


def _mlflow() -> ModuleType:
    try:
        import mlflow
    except ImportError as error:
        raise ConfigError(
            "MLflow is not installed; install it with pip install 'l3ae-dist[mlflow]', or pip install mlflow."
        ) from error
    return mlflow  # type: ignore[no-any-return]


def _told(workspace: str, run: str) -> None:
    """Write a run that has ended; what goes wrong is a warning."""
    try:
        log_run(workspace, run)
    except Exception as error:  # of whatever store MLflow writes to
        warnings.warn(f"run {run} was not written to MLflow: {one_line(str(error))}", stacklevel=2)


def _log(mlflow: ModuleType, record: RunRecord) -> str:
    changed, _ = tables.settings_tables(record.config)
    mlflow.log_params({name: value[:_MOST] for name, value in changed.rows})
    mlflow.log_metrics(dict(_metrics(record)))
    mlflow.set_tags({"l3ae.workspace": record.workspace.url, "l3ae.run": record.run})
    mlflow.log_text(run_page(record), "report.html")
    result = record.workspace.read_doc(layout.result(record.run))
    mlflow.log_text(json.dumps(result, indent=1, default=str), "result.json")
    if record.fitted is not None:
        place = f"mlflow:{mlflow.get_tracking_uri()}/{mlflow.active_run().info.run_id}"
        note_copy(record.workspace, ModelDocument.from_document(record.fitted), "report", place)
        mlflow.set_tag("l3ae.model", str(record.fitted.get("label")))
        mlflow.log_text(model_card(record), "model_card.md")
    return str(mlflow.active_run().info.run_id)


def _metrics(record: RunRecord) -> Iterator[tuple[str, float]]:
    """Yield the figures of a run under names that MLflow takes."""
    result = record.result
    for model in result.models.values():
        for name, value in flat(model.test).items():
            if isinstance(value, int | float):
                yield f"test.{model.name}.{name.replace('@', '_at_')}", float(value)
    for name, value in result.certificate.items():
        if isinstance(value, int | float):
            yield f"certificate.{name}", float(value)
    if result.seconds is not None:
        yield "seconds", float(result.seconds)
    if result.largest_worker:
        yield "worker_peak_bytes", float(result.largest_worker)


def _signature() -> object:
    """Describe the histories that the model takes, and the lists that it returns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    ids = [ColSpec(AnyType(), name) for name in ("user_id", "item_id")]
    lists = [*ids, ColSpec("string", "title"), ColSpec("long", "rank"), ColSpec("double", "score")]
    return ModelSignature(Schema(ids), Schema(lists), ParamSchema([ParamSpec("n", "integer", 20)]))


def _versions(*packages: str) -> Iterator[str]:
    from importlib.metadata import version

    yield from (f"{name}=={version(name)}" for name in packages)
