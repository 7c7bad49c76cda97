"""Embeddings in tables: every format and column type, ids of either kind, against the rows written out."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import ingest
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.errors import DataError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.workspace import Workspace

N, D = 40, 5
F = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
SHUFFLED = np.random.default_rng(1).permutation(N)


@pytest.fixture
def dataset(tmp_path, small_tables):
    return stored(tmp_path, small_tables)


def stored(tmp_path, tables, **options):
    ws = Workspace.create(tmp_path / "w")
    return Dataset(ws, ingest(*tables, IngestConfig(split="none", **options), ws))


def imported(dataset, source):
    identifier = import_id(source, dataset.catalog)
    import_embeddings(source, dataset, identifier)
    return read_rows(ChunkArray.open(dataset.workspace, layout.embeddings(identifier)), 0, dataset.n_items)


def wide(ids=SHUFFLED):
    return pd.DataFrame({"item_id": ids, **{f"e{k}": F[SHUFFLED, k] for k in range(D)}})


def lists(kind):
    values = pa.array(F[SHUFFLED].tolist(), kind)
    return pa.table({"item_id": SHUFFLED, "vector": values})


def json_lines(path):
    rows = [{"item_id": int(i), "vector": F[i].tolist()} for i in SHUFFLED]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


SOURCES = {
    "Parquet": lambda path: (wide().to_parquet(path / "f.parquet"), str(path / "f.parquet"))[1],
    "CSV": lambda path: (wide().to_csv(path / "f.csv", index=False), str(path / "f.csv"))[1],
    "JSON Lines": lambda path: json_lines(path / "f.jsonl"),
    "several files": lambda path: [
        (wide().iloc[part].to_parquet(path / f"f{i}.parquet"), str(path / f"f{i}.parquet"))[1]
        for i, part in enumerate((slice(0, 7), slice(7, N)))
    ],
    "lists": lambda path: lists(pa.list_(pa.float32())),
    "large lists": lambda path: lists(pa.large_list(pa.float64())),
    "lists of fixed size": lambda path: lists(pa.list_(pa.float32(), D)),
    "Parquet of lists": lambda path: (
        pq.write_table(lists(pa.list_(pa.float32())), path / "l.parquet"), str(path / "l.parquet")
    )[1],
    "ids in an index": lambda path: wide().set_index("item_id"),
    "objects of arrays": lambda path: pd.DataFrame({"item_id": SHUFFLED, "vector": list(F[SHUFFLED])}),
    "a list of rows": lambda path: F.tolist(),
    "Zarr": lambda path: (zarr.save_array(str(path / "z"), F), str(path / "z"))[1],
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_every_form_gives_the_rows_in_catalog_order(tmp_path, dataset, name):
    np.testing.assert_allclose(imported(dataset, SOURCES[name](tmp_path)), F, rtol=1e-6)


def test_ids_match_by_kind(tmp_path, small_tables):
    log, items = small_tables
    text = "{:03}".format
    tables = log.assign(item_id=log.item_id.map(text)), items.assign(item_id=items.item_id.map(text))
    texts = stored(tmp_path / "text", tables)
    np.testing.assert_array_equal(imported(texts, wide([text(i) for i in SHUFFLED])), F)
    with pytest.raises(DataError, match=r"40 item\(s\) have no embedding: '000'"):
        imported(texts, wide())
    integers = stored(tmp_path / "integers", small_tables)
    wide([text(i) for i in SHUFFLED]).to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(
        DataError, match=r"holds '0\d\d' .*f.csv\), which is text, .*integers such as 0; .*id_type"
    ):
        imported(integers, str(tmp_path / "f.csv"))


BAD = {
    "lists of two lengths": (
        lambda: pd.DataFrame({"item_id": range(N), "v": [[1.0] * (2 + i % 2) for i in range(N)]}),
        "lists of no one length",
    ),
    "a list that is missing": (
        lambda: pa.table({"item_id": range(N), "v": [None] + [[1.0]] * (N - 1)}), "no one length",
    ),
    "lists of text": (lambda: pa.table({"item_id": range(N), "v": [["a"]] * N}), "lists of .*string"),
    "text": (lambda: pd.DataFrame({"item_id": range(N), "a": 1.0, "b": "x"}), "'b' holds 'x'"),
    "ids alone": (lambda: pd.DataFrame({"item_id": range(N)}), "'item_id' alone; add the vectors"),
    "twice": (lambda: pd.DataFrame({"item_id": [0, *range(N)], "e": 1.0}), "twice: 0"),
    "nothing": (lambda: pd.DataFrame({"item_id": [], "e": []}), "40 item.* no embedding|empty"),
    "rows of two lengths": (lambda: [[1.0, 2.0], [1.0]], "no array of numbers"),
    "a number": (lambda: 5, "embeddings are 5"),
    "a null": (lambda: wide().assign(e0=[None, *range(N - 1)]), "hold NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_of_embeddings_is_refused_in_a_sentence(dataset, name):
    make, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        imported(dataset, make())
    assert len(str(caught.value)) < 400
    assert dataset.workspace.list_docs("stages/embed") == []


@pytest.mark.parametrize("part", ["compressor", "filters"])
def test_a_zarr_array_of_pickles_is_refused_and_not_unpickled(tmp_path, dataset, part):
    folder, mark = tmp_path / "z", tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return Path.touch, (mark,)

    folder.mkdir()
    header = {"zarr_format": 2, "shape": [N, D], "chunks": [N, D], "dtype": "<f4", "compressor": None}
    header |= {"fill_value": 0.0, "order": "C", "filters": None}
    codec = {"id": "pickle"}
    header[part] = [codec] if part == "filters" else codec
    (folder / ".zarray").write_text(json.dumps(header))
    (folder / "0.0").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"the Zarr array .* cannot be opened"):
        imported(dataset, str(folder))
    assert not mark.exists()
