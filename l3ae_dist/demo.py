"""The demo: the whole job on MovieLens, with a small grid, and a few readable recommendations."""

from typing import Any

from l3ae_dist.config import make_config
from l3ae_dist.pipeline import run
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage.workspace import Workspace

DEMO_GRID = {"ridges": [100, 200, 400], "reg_f": [5, 20, 50], "reg_e": [100, 200, 400, 800]}


def run_demo(workspace: str, *, on_event: OnEvent | None = None) -> dict[str, Any]:
    """The whole job on MovieLens with MiniLM embeddings, and a few readable recommendations."""
    from l3ae_dist.data.demo import load_movielens

    interactions, items = load_movielens()
    config = make_config(
        {
            "workspace": workspace,
            "data": {"options": {"timestamp_column": "timestamp"}},
            "encoder": {"model": "minilm"},
            "grid": DEMO_GRID,
        }
    )
    result = run(config, interactions=interactions, items=items, on_event=on_event)
    if "examples" not in result:
        from l3ae_dist.model import load_model

        result["examples"] = load_model(workspace).examples()
        store = Workspace.open(workspace)
        store.write_doc(f"results/{result['run']}", result)
    return result
