"""Small fits in this process, whole or stopped in the middle of a stage."""

import numpy as np
import pandas as pd

from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

N = 40


def tables():
    rng = np.random.default_rng(3)
    log = pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": rng.integers(0, N, 500)})
    return log, pd.DataFrame({"item_id": range(N)}), rng.standard_normal((N, 8)).astype(np.float32)


def fit(where, until="fit", on_event=None, prices=None, keep=(), grid=None, transform=None, **model):
    """One run in this process; returns its result."""
    compute = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16, "keep": keep}
    values = {"workspace": str(where), "model": model if "name" in model else {"reg_x": 10, "reg_f": 5, "reg_e": 10, **model},
              "evaluate": {"ks": [3, 20]}, "compute": compute, "prices": prices, "grid": grid,
              "transform": transform or {}}  # fmt: skip
    log, items, rows = tables()
    return run(make_config(values), interactions=log, items=items, embeddings=rows, until=until,
               on_event=on_event)  # fmt: skip


class Stop(Exception):
    pass


def stop_in(stage):
    """An ``on_event`` that ends the run at the first tile of a stage."""

    def on_event(event):
        if event["kind"] == "tile" and event["stage"] == stage:
            raise Stop

    return on_event
