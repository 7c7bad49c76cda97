"""The load on the HTTP service, and updates, on a small size and real processes (make bench-once)."""

import living_drift
import living_forget
import living_serving
import living_update
import numpy as np
import pandas as pd
import pytest


@pytest.mark.ray
def test_a_service_is_asked_while_its_model_is_replaced(monkeypatch):
    monkeypatch.setattr(living_serving, "SWAP_SECONDS", 2.5)
    monkeypatch.setattr(living_serving, "RATE", 100.0)
    monkeypatch.setattr(living_serving, "HIGHER", (200.0,))
    monkeypatch.setattr(living_serving, "THROUGH_RAY", (20.0,))
    details = {}
    rows = living_serving.rows(details, n=400, seconds=5.0)
    wrong, swaps = rows[:2]
    assert (wrong["ours"], wrong["target"]) == (0, 0)
    assert 1 <= swaps["ours"] <= swaps["target"] == 2
    assert details["ours"]["statuses"] == {"200": 500}
    assert sum(details["ours"]["histogram"].values()) == details["bare"]["requests"] == 500
    assert [line["target"] for line in rows[3:6:2]] == [2.0, 1.0]
    assert details["through Ray Serve"][0]["statuses"] == {"200": 100}


def test_updates_are_measured_beside_an_append_and_in_a_row(monkeypatch):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 400, 4000), "item_id": rng.integers(0, 300, 4000)})
    items = pd.DataFrame({"item_id": range(300), "title": [f"thing {number}" for number in range(300)]})
    monkeypatch.setattr(living_update, "tables", lambda name, title: (log.drop_duplicates(), items))
    for name, value in {"USERS": 5, "ASKED": 20, "EACH": 3, "IN_A_ROW": 6, "REPEATS": 1, "DIM": 16}.items():
        monkeypatch.setattr(living_update, name, value)
    details = {}
    rows = living_update.rows(details)
    assert [line["target"] for line in rows if line["target"] is not None] == [1 / 20, 1, 1, 1, 1.3, 1]
    assert all(line["met"] for line in rows[1:3])
    assert details["books"]["update"][-1]["update"]["rank"] == 20
    told = details["in a row"]
    assert [one["changed"] for one in told].count(False) == rows[-3]["ours"] >= 1  # 30 rows are too many
    assert all(one["residual"] <= one["tolerance"] for one in told)


def test_forgetting_is_measured_to_the_last_byte_and_beside_a_fit_without(monkeypatch):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 400, 4000), "item_id": rng.integers(0, 300, 4000)})
    items = pd.DataFrame({"item_id": range(300), "title": [f"thing {number}" for number in range(300)]})
    monkeypatch.setattr(living_forget, "tables", lambda name, title: (log.drop_duplicates(), items))
    monkeypatch.setattr(living_forget, "USERS", 5)
    monkeypatch.setattr(living_update, "DIM", 16)
    details = {}
    rows = living_forget.rows(details)
    assert details["forget"]["at once"]["rank"] == 5
    assert details["forget"]["erased"]["state"] == "erased"
    assert rows[2]["met"]
    assert rows[3]["ours"] > 0
    assert rows[4]["ours"] == 0
    assert rows[4]["met"]


def test_weeks_are_recommended_for_before_they_are_known(monkeypatch):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 400, 4000), "item_id": rng.integers(0, 300, 4000)})
    log = log.drop_duplicates()
    weeks = [log.iloc[3000 + 20 * number : 3020 + 20 * number] for number in range(3)]
    monkeypatch.setattr(living_drift, "log_by_week", lambda: (log.iloc[:3000], weeks))
    details = {}
    rows = living_drift.rows(details)
    told = details["weeks"]
    assert len(told) == 3
    assert rows[1]["ratio"] == pytest.approx(1, abs=0.05)  # updated and refitted are one model
    assert all(one["residual"] <= one["tolerance"] for one in told)
    assert told[0]["stale"] == told[0]["updated"]  # nothing has happened yet
