"""What the first pass hands back is small, whatever it read."""

import pickle

import numpy as np
import pandas as pd

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.shuffle.scan import LogColumns, scan, scan_tasks
from l3ae_dist.data.shuffle.spills import Spills


def test_a_segment_is_a_small_record_and_its_rows_are_spilled(tmp_path):
    rows = 200_000
    log = pd.DataFrame({"user_id": np.arange(rows) * 10**6, "item_id": [f"item {i}" for i in range(rows)]})
    log.to_parquet(tmp_path / "log.parquet")
    table = open_table(str(tmp_path / "log.parquet"), "interactions")
    spills = Spills(str(tmp_path / "spills"))
    (task,) = scan_tasks(table, LogColumns(IngestConfig()), rows, spills)
    scanned = scan(task)
    assert len(pickle.dumps(scanned)) < 10_000
    assert sum(segment.rows for segment in scanned.segments) == rows
    assert sum(len(spills.get_ids(f"{segment.key}/user_ids")) for segment in scanned.segments) == rows
