"""Small logs that are read and fitted, and the formula that the fits are checked against."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from l3ae_dist import load_model, make_config
from l3ae_dist import run as run_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.storage.workspace import Workspace

FIVE = (1, 2, 3, 4, 5)
# Nothing that is said to a user is longer, whatever was passed in.
LONGEST = 500


def section(where, *, model=None, **options):
    """The configuration of an EASE of ridge 1 in this process, on everything that was read."""
    return {
        "workspace": str(where),
        "data": {"options": {"split": "none", **options}},
        "model": model or {"name": "ease", "reg_x": 1},
        "compute": {"cluster": "synchronous", "threads": 1, "dtype": "float64"},
        "report": False,
    }


def catalog(*ids, **columns):
    """A catalog as a frame; items 1 to 5 when none are named."""
    return pd.DataFrame({"item_id": list(ids or FIVE), **columns})


def read(where, interactions, items=None, **options):
    """The dataset that is stored of a log; nothing is fitted."""
    items = catalog() if items is None else items
    config = make_config(section(where, **options))
    result = run_config(config, interactions=interactions, items=items, until="ingest")
    return Dataset(Workspace.open(str(where)), result["dataset"]["id"])


def fit(where, interactions, items=None, **options):
    """The model that is fitted on a log."""
    items = catalog() if items is None else items
    run_config(make_config(section(where, **options)), interactions=interactions, items=items, until="fit")
    return load_model(str(where), threads=1)


def rows(dataset, split="train"):
    """What is stored, as a mapping from user to a mapping from item to weight; users without any are left out."""
    users, items = dataset.user_ids().tolist(), dataset.item_ids().tolist()
    matrix = dataset.user_rows(split, 0, dataset.n_users).tocoo()
    found = {}
    for user, item, weight in zip(matrix.row, matrix.col, matrix.data, strict=True):
        found.setdefault(users[user], {})[items[item]] = float(weight)
    return found


def ones(**histories):
    """Rows of unweighted interactions from lists of items."""
    return {user: dict.fromkeys(items, 1.0) for user, items in histories.items()}


def ease(histories, items=FIVE, ridge=1.0):
    """The formula: ``P = (X'X + ridge I)^-1``, ``B = I - P / diag P``, whose column j predicts item j."""
    x = np.array([[weights.get(item, 0.0) for item in items] for weights in histories.values()])
    p = np.linalg.inv(x.T @ x + ridge * np.eye(len(items)))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    return x, b


def assert_fitted_on(model, histories, items=FIVE):
    """A model knows just these rows, has the weights of the formula, and recommends by its scores."""
    items = list(items)
    assert model.dataset.item_ids().tolist() == items
    assert rows(model.dataset) == histories
    x, b = ease(histories, items)
    np.testing.assert_allclose(model.weights(items), b, atol=1e-9)
    shown = model.recommend(list(histories), n=len(items))
    scores = x @ b
    places = [list(histories).index(user) for user in shown["user_id"]]
    wanted = scores[places, [items.index(item) for item in shown["item_id"]]]
    np.testing.assert_allclose(shown["score"], wanted, atol=1e-6)
    assert len(shown) == sum(len(items) - len(weights) for weights in histories.values())


def is_short(error, *words):
    """The message of an error is one paragraph with these words in it."""
    message = str(getattr(error, "value", error))
    assert len(message) <= LONGEST, message[:2000]
    for word in words:
        assert re.search(word, message), f"{word!r} is not in: {message}"
    return True


def command(*arguments, **environment):
    """Run the console script in its own process."""
    return subprocess.run(
        [sys.executable, "-c", "from l3ae_dist.cli.app import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment, "COLUMNS": "400", "NO_COLOR": "1"},
    )


def write_config(folder: Path, interactions, items=None, **options):
    """A configuration file beside its catalog, whose workspace is ``w``."""
    if items is None:
        items = folder / "items.csv"
        items.write_text("item_id\n" + "".join(f"{item}\n" for item in FIVE))
    values = section(folder / "w", **options)
    values["data"] |= {"interactions": str(interactions), "items": str(items)}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
