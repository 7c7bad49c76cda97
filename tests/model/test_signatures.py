"""Every call of a model shows its arguments, on estimators as on fitted models."""

import inspect

import pytest

from l3ae_dist import EASE, GFCF, L3AE, EASEText
from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.model.fitted import FittedModel

CALLS = (
    "recommend", "recommend_batches", "similar_items", "explain", "weights",
    "add_items", "append", "evaluate", "save", "export_weights",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [FittedModel, L3AE, EASE, EASEText, GFCF])
def test_a_call_names_its_arguments_and_documents_each(kind, call):
    function = getattr(kind, call)
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self")
    assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values())
    text = inspect.getdoc(function)
    listed = {name for line in text.splitlines() if not line.startswith(" ") for name in line.split(", ")}
    assert set(parameters) <= listed


def test_an_estimator_and_its_model_take_the_same_arguments():
    for call in CALLS:
        assert inspect.signature(getattr(L3AE, call)) == inspect.signature(getattr(FittedModel, call)), call


def test_evaluate_has_the_defaults_of_the_configuration():
    shown = inspect.signature(FittedModel.evaluate).parameters
    for name, field in EvaluateConfig.model_fields.items():
        assert shown[name].default == field.default, name


def test_recommend_has_the_defaults_of_its_batches():
    batches = inspect.signature(FittedModel.recommend_batches).parameters
    for name, one in inspect.signature(FittedModel.recommend).parameters.items():
        assert name == "users" or one == batches[name], name
