"""The load on the HTTP service on a small size and real processes (make bench-once)."""

import living_serving
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
