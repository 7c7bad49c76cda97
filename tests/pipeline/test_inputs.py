"""Sources of a run, and the step that it ends with."""

import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.inputs import Inputs, checked_until


def test_given_sources_come_before_the_configured_ones():
    config = make_config({"workspace": "w", "data": {"interactions": "log.csv", "items": "items.csv"}})
    assert Inputs(interactions="new.csv").or_configured(config) == Inputs("new.csv", "items.csv", None)


@pytest.mark.parametrize("step", ["ingest", "embed", "fit", None])
def test_a_run_ends_after_a_step_or_with_everything(step):
    assert checked_until(step) == step


@pytest.mark.parametrize("step", ["gram", "sweep", "", "Fit"])
def test_another_step_is_refused_with_the_ones_there_are(step):
    with pytest.raises(ConfigError, match="must be ingest, embed, fit or None"):
        checked_until(step)
