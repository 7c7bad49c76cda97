"""L3AE and its family: exact linear recommenders on catalogs larger than one machine's memory.

The public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l3ae_dist.config.load import make_config
    from l3ae_dist.evaluation.evaluate_lists import evaluate_lists
    from l3ae_dist.model.estimators import (
        GFCF,
        AdditiveEASE,
        CollectiveEASE,
        EASEText,
        L3AEAdditive,
        L3AECollective,
        TextSimilarity,
    )
    from l3ae_dist.model.fitted import load_model
    from l3ae_dist.model.linear_estimators import DAN, DEQL, DLAE, EASE, EDLAE, L3AE, LAE, RDLAE, RLAE
    from l3ae_dist.model.rerank import rerank
    from l3ae_dist.pipeline.append import append
    from l3ae_dist.pipeline.check import check
    from l3ae_dist.pipeline.forget import forget
    from l3ae_dist.pipeline.named_models import models, use_model
    from l3ae_dist.pipeline.run import run
    from l3ae_dist.pipeline.update import update
    from l3ae_dist.planning.look_ahead import plan, simulate
    from l3ae_dist.report.sweep_page import sweep
    from l3ae_dist.storage.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "DAN",
    "DEQL",
    "DLAE",
    "EASE",
    "EDLAE",
    "GFCF",
    "L3AE",
    "LAE",
    "RDLAE",
    "RLAE",
    "AdditiveEASE",
    "CollectiveEASE",
    "EASEText",
    "L3AEAdditive",
    "L3AECollective",
    "TextSimilarity",
    "Workspace",
    "__version__",
    "append",
    "check",
    "evaluate_lists",
    "forget",
    "load_model",
    "make_config",
    "models",
    "plan",
    "rerank",
    "run",
    "simulate",
    "sweep",
    "update",
    "use_model",
]

_HOME = {
    "LAE": "l3ae_dist.model.linear_estimators",
    "RLAE": "l3ae_dist.model.linear_estimators",
    "EDLAE": "l3ae_dist.model.linear_estimators",
    "DLAE": "l3ae_dist.model.linear_estimators",
    "RDLAE": "l3ae_dist.model.linear_estimators",
    "DAN": "l3ae_dist.model.linear_estimators",
    "DEQL": "l3ae_dist.model.linear_estimators",
    "EASE": "l3ae_dist.model.linear_estimators",
    "EASEText": "l3ae_dist.model.estimators",
    "TextSimilarity": "l3ae_dist.model.estimators",
    "CollectiveEASE": "l3ae_dist.model.estimators",
    "L3AECollective": "l3ae_dist.model.estimators",
    "AdditiveEASE": "l3ae_dist.model.estimators",
    "L3AEAdditive": "l3ae_dist.model.estimators",
    "GFCF": "l3ae_dist.model.estimators",
    "L3AE": "l3ae_dist.model.linear_estimators",
    "Workspace": "l3ae_dist.storage.workspace",
    "append": "l3ae_dist.pipeline.append",
    "check": "l3ae_dist.pipeline.check",
    "evaluate_lists": "l3ae_dist.evaluation.evaluate_lists",
    "forget": "l3ae_dist.pipeline.forget",
    "load_model": "l3ae_dist.model.fitted",
    "make_config": "l3ae_dist.config.load",
    "models": "l3ae_dist.pipeline.named_models",
    "plan": "l3ae_dist.planning.look_ahead",
    "rerank": "l3ae_dist.model.rerank",
    "run": "l3ae_dist.pipeline.run",
    "simulate": "l3ae_dist.planning.look_ahead",
    "sweep": "l3ae_dist.report.sweep_page",
    "update": "l3ae_dist.pipeline.update",
    "use_model": "l3ae_dist.pipeline.named_models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
