"""The plan of a core, and the prices of others beside it, from the counts of the items."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from l3ae_dist.cli.app import app
from l3ae_dist.config.load import make_config
from l3ae_dist.data.core import core_first, core_part
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.core_prices import core_prices
from l3ae_dist.planning.data_size import dataset_size, given_size
from l3ae_dist.planning.known_data import ingested_dataset, ingested_size
from l3ae_dist.planning.rates import assumed_rates
from l3ae_dist.planning.resources import Resources

N, K = 600, 6


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A configuration with a core on ingested data, with a long tail."""
    rng = np.random.default_rng(2)
    items = rng.permutation(N)[np.minimum(rng.geometric(0.01, 6000), N - 1)]
    log = pd.DataFrame({"user_id": rng.integers(0, 400, 6000), "item_id": items})
    where = tmp_path_factory.mktemp("plan")
    log.to_parquet(where / "log.parquet")
    pd.DataFrame({"item_id": range(N), "text": "t"}).to_parquet(where / "items.parquet")
    sources = {"interactions": str(where / "log.parquet"), "items": str(where / "items.parquet")}
    config = make_config({"workspace": str(where / "ws"), "compute": {"tile_size": 64},
                          "data": {**sources, "core": {"min_interactions": K}}})  # fmt: skip
    run(config, until="ingest")
    return config


def _resources() -> Resources:
    return Resources(rates=assumed_rates(1, "cpu"))


def test_the_size_of_a_core_is_that_of_the_stored_one(ingested):
    dataset = ingested_dataset(ingested)
    size, stored = ingested_size(ingested, 8), dataset_size(core_part(core_first(dataset, K)), 8)
    popularity = dataset.popularity()
    assert size.items == stored.items == (popularity >= K).sum() < N
    assert size.interactions == stored.interactions == popularity[popularity >= K].sum()
    assert size.tail == stored.tail == N - size.items
    assert size.widest_block(64) == stored.widest_block(64)
    assert size.catalog == N


def test_the_price_falls_with_the_core(ingested):
    prices = core_prices(ingested, ingested_dataset(ingested), ingested_size(ingested, 384), _resources())
    popularity = ingested_dataset(ingested).popularity()
    assert [price.min_interactions for price in prices[:3]] == [None, 1, 2]
    assert K in [price.min_interactions for price in prices]
    for price in prices[1:]:
        inside = popularity >= price.min_interactions
        assert price.items == inside.sum() > 0
        assert price.interactions == pytest.approx(popularity[inside].sum() / popularity.sum())
    for more, fewer in itertools.pairwise(prices):
        assert more.items >= fewer.items
        assert more.flops >= fewer.flops
        assert more.bytes >= fewer.bytes
    inverse = (prices[-1].items / N) ** 3
    assert prices[-1].flops > inverse * prices[0].flops  # the text of the tail is not free


def test_a_core_that_does_not_fit_is_told_without_a_price(ingested):
    small = ingested.compute.model_copy(update={"memory_budget": 300 << 20})
    config = ingested.model_copy(update={"compute": small})
    prices = core_prices(config, ingested_dataset(config), ingested_size(config, 384), _resources())
    assert all(price.flops is None and price.seconds is None for price in prices)
    assert prices[0].items == N


def test_the_plan_command_shows_the_core_and_its_prices(ingested, tmp_path):
    path = tmp_path / "run.yaml"
    data = {"interactions": ingested.data.interactions, "items": ingested.data.items}
    path.write_text(json.dumps({"workspace": ingested.workspace, "compute": {"tile_size": 64},
                                "data": {**data, "core": {"min_interactions": K}}}))  # fmt: skip
    told = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["data"]["items"] + found["data"]["tail"] == N
    own = next(one for one in found["cores"] if one["min_interactions"] == K)
    assert own["items"] == found["data"]["items"]
    assert own["seconds"] == pytest.approx(found["seconds"])
    assert own["bytes"] == found["storage_bytes"]
    shown = CliRunner().invoke(app, ["plan", str(path)])
    assert "6 (this run)" in shown.stdout
    assert "in the core" in shown.stdout
    whole = CliRunner().invoke(app, ["plan", str(path), "--set", "data.core=null", "--json"])
    assert "cores" not in json.loads(whole.stdout)
    explained = CliRunner().invoke(app, ["plan", str(path), "--set", "data.core=null", "--json", "--explain"])
    assert json.loads(explained.stdout)["cores"][0]["items"] == N


def test_a_plan_without_data_does_not_guess_the_core(ingested):
    with pytest.raises(ConfigError, match="known from the data alone"):
        given_size(ingested, 1000, 100, 5000, 8)
