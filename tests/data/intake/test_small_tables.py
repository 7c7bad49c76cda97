"""Tables of ids that fit in memory."""

import pandas as pd
import pytest

from l3ae_dist.data.intake.small_tables import form_of_ids, read_small
from l3ae_dist.errors import DataError


def read(path, text, **forms):
    path.write_text(text)
    table = read_small(path, "histories", ("user_id", "item_id"), ("weight",))
    forms = {"user_id": form_of_ids([table], "user_id"), "item_id": form_of_ids([table], "item_id"), **forms}
    return table.frame(forms)


def test_ids_are_integers_only_where_all_are_written_so(tmp_path):
    path = tmp_path / "a.csv"
    frame = read(path, "user_id,item_id,weight,more\n1,007,2.5,x\n1,8,1,\n2,007,,y\n")
    assert frame.columns.tolist() == ["user_id", "item_id", "weight"]
    assert frame.user_id.tolist() == [1, 1, 2]
    assert frame.item_id.tolist() == ["007", "8", "007"]
    assert frame.weight.fillna(-1).tolist() == [2.5, 1, -1]


def test_ids_follow_the_form_that_is_asked_for(tmp_path):
    text = "user_id,item_id\n1,7\n2,8\n"
    assert read(tmp_path / "a.csv", text, item_id="text").item_id.tolist() == ["7", "8"]
    assert read(tmp_path / "a.csv", text, item_id="integer").item_id.tolist() == [7, 8]
    with pytest.raises(DataError, match=r"'007'.*text.*integers.*id_type"):
        read(tmp_path / "a.csv", "user_id,item_id\n1,007\n", item_id="integer")


def test_tables_decide_together(tmp_path):
    pd.DataFrame({"user_id": ["007"], "item_id": [1]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"item_id": 2, "user_id": 7}\n{"item_id": 3}\n')
    one = read_small(tmp_path / "a.parquet", "histories", ("user_id", "item_id"))
    with pytest.raises(DataError, match=r"1 row.*no user id"):
        read_small(tmp_path / "b.jsonl", "items", ("item_id", "user_id"))
    (tmp_path / "b.jsonl").write_text('{"item_id": 2, "user_id": 7}\n')
    two = read_small(tmp_path / "b.jsonl", "items", ("item_id", "user_id"))
    form = form_of_ids([one, two], "user_id")
    assert form == "text"
    assert two.frame({"user_id": form, "item_id": "integer"}).user_id.tolist() == ["7"]


def test_several_parts_and_columns_that_are_not_there(tmp_path):
    (tmp_path / "a.csv").write_text("item_id\n1\n")
    (tmp_path / "b.csv").write_text("item_id\n")
    (tmp_path / "c.csv").write_text("item_id\n2\n1\n")
    table = read_small(tmp_path, "items", ("item_id", "user_id"), ("weight",))
    assert table.frame({"item_id": "integer"}).to_dict("list") == {"item_id": [1, 2, 1]}
    with pytest.raises(DataError, match="no column 'user_id'"):
        read_small(tmp_path, "histories", ("user_id", "item_id"))
    (tmp_path / "c.csv").write_text("item_id,user_id\n2,1\n")
    with pytest.raises(DataError, match=r"a\.csv has no column 'user_id'"):
        read_small(tmp_path, "items", ("item_id", "user_id"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="empty"):
        read_small(tmp_path / "empty.csv", "items", ("item_id",))
