"""SIGKILL of a whole run that embeds, then of an embedding actor of the run that goes on."""

import os
import shutil
import signal
import tempfile

import pandas as pd
import pytest
from job import Command, Record, artifacts, damage, write_config

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.timeout(280)]

ROWS, CHUNK = 400, 20
CHUNKS = ROWS // CHUNK


@pytest.fixture
def short_folder():
    """Where Ray's sockets have short enough names; a killed Ray leaves its folder behind."""
    folder = tempfile.mkdtemp(prefix="l3f-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def embedded(record):
    """Row chunks written; the data that the run ingested are chunks too."""
    return [chunk for chunk in record.written() if chunk[0].startswith("embeddings/")]


def test_no_row_is_embedded_twice_beyond_the_chunks_in_flight(tmp_path, short_folder):
    pd.DataFrame({"user_id": [1, 1, 2], "item_id": [0, 1, 0]}).to_parquet(tmp_path / "log.parquet")
    items = {"item_id": range(ROWS), "text": [f"word {i} " * 40 for i in range(ROWS)]}
    pd.DataFrame(items).to_parquet(tmp_path / "items.parquet")
    record = Record(tmp_path / "record")

    def config(name):
        data = {kind: str(tmp_path / f"{file}.parquet") for kind, file in
                (("interactions", "log"), ("items", "items"))}  # fmt: skip
        values = {"workspace": str(tmp_path / name), "data": data, "encoder": {"rows_per_chunk": CHUNK}}
        return write_config(tmp_path / f"{name}.yaml", values)

    def start(name, **options):
        return Command("embed", config(name), TMPDIR=short_folder, **options)

    first = start("killed", record=record.path)
    first.kill_when(lambda: len(embedded(record)) >= 5)
    lost_with_run = set(record.in_flight())
    finished = set(embedded(record))
    assert 5 <= len(finished) < CHUNKS - 5

    second = start("killed", record=record.path)
    second.wait_until(lambda: len(embedded(record)) >= len(finished) + 5)
    alive = {note[4] for note in record.notes()[-3:]}
    second.wait_until(lambda: set(record.in_flight().values()) & alive)
    lost_with_actor, victim = next((chunk, pid) for chunk, pid in record.in_flight().items() if pid in alive)
    os.kill(victim, signal.SIGKILL)
    code, _, err = second.finish()
    assert code == 0, err

    assert record.after_finished() == []
    again = record.twice()
    print(
        f"{len(lost_with_run)} chunks in flight of the run, 1 of the actor; embedded again: {sorted(again)}"
    )
    assert again <= lost_with_run | {lost_with_actor}
    assert len(lost_with_run) <= (os.cpu_count() or 1)  # one for each actor
    assert len(set(embedded(record))) == len(embedded(record)) == CHUNKS
    assert damage(tmp_path / "killed") == []

    code, _, err = start("undisturbed").finish()
    assert code == 0, err
    assert artifacts(tmp_path / "killed") == artifacts(tmp_path / "undisturbed")
