"""The demo: the whole job on MovieLens, with a small grid, and a few readable recommendations."""

from typing import TypedDict

import numpy as np

from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.tables import Id
from l3ae_dist.linalg.arrays import Integers
from l3ae_dist.model.fitted import FittedModel, load_model
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

DEMO_GRID = {"ridges": [100, 200, 400], "reg_f": [5, 20, 100, 500], "reg_e": [400, 1200, 2400]}
"""Values around the best ones: none of these lies at an end."""
# Users among whom examples are chosen.
_USERS = 100_000


class ExampleItem(TypedDict):
    """A recommended item and the titles of the items that it is because of."""

    title: str
    score: float
    why: list[str]


class Example(TypedDict):
    """A user with some titles of the history, and what is recommended."""

    user_id: Id
    liked: list[str]
    recommended: list[ExampleItem]


def run_demo(workspace: str, *, on_event: OnEvent | None = None) -> ResultDocument:
    """Run the whole job on MovieLens with MiniLM embeddings, and add a few readable recommendations."""
    from l3ae_dist.data.demo import load_movielens

    interactions, items = load_movielens()
    config = make_config(
        {
            "workspace": workspace,
            "data": {"options": {"timestamp_column": "timestamp"}},
            "encoder": {"model": "minilm"},
            "grid": DEMO_GRID,
            "evaluate": {"beside": ["ease", "ease_text"]},
        }
    )
    result = run(config, interactions=interactions, items=items, on_event=on_event)
    if "examples" not in result:
        result["examples"] = examples(load_model(workspace, result["model"]["name"]))
        store = Workspace.open(workspace)
        store.write_doc(layout.result(result["run"]), result)
    return result


def examples(model: FittedModel, users: int = 3, n: int = 5, seed: int = 0) -> list[Example]:
    """Choose users at random and return readable recommendations, with the items that they are because of.

    Parameters
    ----------
    model
        A fitted model.
    users
        How many users; those with 5 to 60 items where there are any.
    n
        Items for each.
    seed
        Of the choice.
    """
    dataset = model.dataset
    chosen = _readable_users(dataset, users, seed).tolist()
    ids = [dataset.user_ids(user, user + 1).tolist()[0] for user in chosen]
    table = model.recommend(ids, n, return_reasons=2)
    return [
        Example(
            user_id=user_id,
            liked=_liked_titles(dataset, user),
            recommended=[
                ExampleItem(
                    title=line.title,
                    score=round(float(line.score), 4),
                    why=[reason["title"] for reason in line.reasons],
                )
                for line in table[table["user_id"] == user_id].itertuples()
            ],
        )
        for user, user_id in zip(chosen, ids, strict=True)
    ]


def _readable_users(dataset: Dataset, count: int, seed: int) -> Integers:
    """Rows of users with neither few nor many items; of any with items where there are none."""
    degrees = np.diff(dataset.user_rows("input", 0, min(dataset.n_users, _USERS)).indptr)
    eligible = np.flatnonzero((degrees >= 5) & (degrees <= 60))
    if not len(eligible):
        eligible = np.flatnonzero(degrees > 0)
    count = min(count, len(eligible))
    return np.sort(np.random.default_rng(seed).choice(eligible, count, replace=False))


def _liked_titles(dataset: Dataset, user: int, most: int = 5) -> list[str]:
    liked = dataset.user_rows("input", user, user + 1).indices[:most]
    return [dataset.titles(item, item + 1)[0] for item in liked.tolist()]
