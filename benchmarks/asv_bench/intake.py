"""The intake at a small size: from files to a stored dataset with a random split."""

import tempfile

import numpy as np
import pandas as pd

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import ingest
from l3ae_dist.storage.workspace import Workspace

ROWS, USERS, ITEMS = 100_000, 10_000, 2_000
FILES = 4


class Ingest:
    """A log in several files of one format, with numbers or texts as ids."""

    params = (["parquet", "csv"], ["integer", "text"])
    param_names = ("format", "ids")
    number, warmup_time = 1, 0.0

    def setup(self, form: str, ids: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="l3ae-asv-")
        rng = np.random.default_rng(0)
        users, items = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
        catalog = pd.DataFrame({"item_id": np.arange(ITEMS)})
        log = pd.DataFrame({"user_id": users, "item_id": items})
        if ids == "text":
            log, catalog = log.astype(str), catalog.astype(str)
        catalog.to_parquet(f"{self.folder.name}/items.parquet")
        for part, rows in enumerate(np.array_split(np.arange(ROWS), FILES)):
            piece = log.iloc[rows]
            path = f"{self.folder.name}/log-{part}.{form}"
            piece.to_csv(path, index=False) if form == "csv" else piece.to_parquet(path)

    def teardown(self, form: str, ids: str) -> None:
        self.folder.cleanup()

    def ingest(self, form: str, ids: str) -> Dataset:
        with tempfile.TemporaryDirectory(dir=self.folder.name) as target:
            workspace = Workspace.create(target)
            # text ids that look like numbers stay texts in every format
            options = IngestConfig(split="random", id_type="string" if ids == "text" else "auto")
            log, items = f"{self.folder.name}/log-*.{form}", f"{self.folder.name}/items.parquet"
            return Dataset(workspace, ingest(log, items, options, workspace))

    def time_ingest(self, form: str, ids: str) -> None:
        self.ingest(form, ids)

    def peakmem_ingest(self, form: str, ids: str) -> None:
        self.ingest(form, ids)

    def track_users(self, form: str, ids: str) -> int:
        return self.ingest(form, ids).n_users

    track_users.unit = "users"
