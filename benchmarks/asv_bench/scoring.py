"""Scoring and serving of a small fitted model, and the tasks and bytes of its whole run without a cluster."""

import atexit
import functools
import shutil
import tempfile
from typing import Any

import numpy as np

from l3ae_dist.config.load import make_config
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.run import run

N, USERS, PER_USER, D, TILE = 1024, 2000, 20, 32, 256
STAGES = ["gram", "factor", "linv", "invert", "certify", "semantic_rows", "product_rows", "score ridge 200"]


@functools.cache
def fitted(dtype: str) -> dict[str, Any]:
    """Fit once for each dtype and process, and return the result; its workspace is removed at exit."""
    import pandas as pd

    folder = tempfile.mkdtemp(prefix="l3ae-asv-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = make_config(
        {
            "workspace": f"{folder}/w",
            "model": {"reg_x": 100, "reg_f": 5, "reg_e": 100},
            "evaluate": {"bootstrap": 0},
            "compute": {"cluster": "synchronous", "tile_size": TILE, "memory_budget": "1GiB", "dtype": dtype},
        }
    )
    features = np.random.default_rng(0).standard_normal((N, D), dtype=np.float32)
    items = pd.DataFrame({"item_id": np.arange(N)})
    return run(config, interactions=zipf_log(USERS, PER_USER, N), items=items, embeddings=features)


class Serve:
    """Calls on a fitted model whose tiles are in memory."""

    params = ([1, 256], ["float32", "float64"])
    param_names = ("batch", "dtype")
    timeout = 300

    def setup(self, batch: int, dtype: str) -> None:
        self.model = load_model(fitted(dtype)["workspace"])
        self.users = list(range(batch))
        self.model.recommend(self.users, n=20)

    def time_recommend(self, batch: int, dtype: str) -> None:
        self.model.recommend(self.users, n=20)

    def time_similar_items(self, batch: int, dtype: str) -> None:
        self.model.similar_items(list(range(batch)), n=20)

    def peakmem_recommend(self, batch: int, dtype: str) -> None:
        self.model.recommend(self.users, n=20)


class WholeRun:
    """Tasks and bytes of each stage of a run."""

    params = (STAGES, ["float32", "float64"])
    param_names = ("stage", "dtype")
    timeout = 300

    def track_num_tasks(self, stage: str, dtype: str) -> int:
        return int(fitted(dtype)["stages"][stage]["tasks"])

    def track_bytes_read(self, stage: str, dtype: str) -> int:
        return int(fitted(dtype)["stages"][stage]["bytes_read"])

    track_num_tasks.unit, track_bytes_read.unit = "tasks", "bytes"
