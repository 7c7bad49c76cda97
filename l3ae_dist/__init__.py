"""L3AE and its family: exact linear recommenders on catalogs larger than one machine's memory.

The public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l3ae_dist.config.load import make_config
    from l3ae_dist.model.estimators import (
        EASE,
        GFCF,
        L3AE,
        AdditiveEASE,
        CollectiveEASE,
        EASEText,
        L3AEAdditive,
        L3AECollective,
        TextSimilarity,
    )
    from l3ae_dist.model.fitted import load_model
    from l3ae_dist.pipeline.append import append
    from l3ae_dist.pipeline.run import run
    from l3ae_dist.report.sweep_page import sweep
    from l3ae_dist.storage.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "EASE",
    "GFCF",
    "L3AE",
    "AdditiveEASE",
    "CollectiveEASE",
    "EASEText",
    "L3AEAdditive",
    "L3AECollective",
    "TextSimilarity",
    "Workspace",
    "__version__",
    "append",
    "load_model",
    "make_config",
    "run",
    "sweep",
]

_HOME = {
    "EASE": "l3ae_dist.model.estimators",
    "EASEText": "l3ae_dist.model.estimators",
    "TextSimilarity": "l3ae_dist.model.estimators",
    "CollectiveEASE": "l3ae_dist.model.estimators",
    "L3AECollective": "l3ae_dist.model.estimators",
    "AdditiveEASE": "l3ae_dist.model.estimators",
    "L3AEAdditive": "l3ae_dist.model.estimators",
    "GFCF": "l3ae_dist.model.estimators",
    "L3AE": "l3ae_dist.model.estimators",
    "Workspace": "l3ae_dist.storage.workspace",
    "append": "l3ae_dist.pipeline.append",
    "load_model": "l3ae_dist.model.fitted",
    "make_config": "l3ae_dist.config.load",
    "run": "l3ae_dist.pipeline.run",
    "sweep": "l3ae_dist.report.sweep_page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
