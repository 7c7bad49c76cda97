"""A run that was killed among partial sums goes on with another number of workers, which cut sums elsewhere."""

import numpy as np
import pandas as pd
import pytest

from l3ae_dist import load_model
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

USERS, ITEMS, RIDGE = 120, 150, 10.0


def interrupted_after(array, count):
    """Return a listener that interrupts a run after so many partial tiles of an array."""
    left = [count]

    def listen(event):
        left[0] -= event["kind"] == "tile" and event["array"] == array
        if left[0] == 0:
            raise KeyboardInterrupt

    return listen


@pytest.mark.parametrize(
    ("array", "count", "workers"), [("partial0", 60, 40), ("partial0", 150, 4), ("sum0", 60, 40)]
)
def test_partial_sums_of_other_cuts_are_made_again(tmp_path, array, count, workers):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, USERS, 3000), "item_id": rng.integers(0, ITEMS, 3000)})
    log = log.drop_duplicates()

    def config(count):
        compute = {"cluster": "synchronous", "workers": count, "tile_size": 5, "dtype": "float64", "block": 8}
        data = {"options": {"split": "none"}}
        model = {"name": "ease", "reg_x": RIDGE}
        return make_config(
            {"workspace": str(tmp_path / "w"), "data": data, "model": model, "compute": compute}
        )

    with pytest.raises(KeyboardInterrupt):
        run(config(12), interactions=log, on_event=interrupted_after(array, count), until="fit")
    assert any((tmp_path / "w").rglob("partials/*/*/c"))
    run(config(workers), interactions=log, until="fit")
    assert not any(path.is_file() for path in (tmp_path / "w").rglob("partials/**/*"))
    x = np.zeros((USERS, ITEMS))
    x[log.user_id, log.item_id] = 1
    inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    found = load_model(tmp_path / "w").weights(range(ITEMS))
    np.testing.assert_allclose(found, weights, atol=1e-12)
