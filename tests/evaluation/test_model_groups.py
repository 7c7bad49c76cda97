"""Groups of models that are measured in one pass."""

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.evaluation.groups import rank_groups, score_groups

MODELS = (
    ModelSpec("EASEText", reg_f=5.0),
    ModelSpec("EASE", 100.0),
    ModelSpec("L3AE", 80.0, 5.0, 20.0),
    ModelSpec("L3AE", 40.0, 1.0, 10.0),
    ModelSpec("L3AE", 50.0, 1.0, 50.0),
)


def test_models_of_one_ridge_are_scored_together_in_the_order_of_the_first():
    groups = score_groups(MODELS)
    assert [group.label for group in groups] == ["EASEText", "ridge 100", "ridge 50"]
    assert groups[1].models == (MODELS[1], MODELS[2], MODELS[4])


def test_models_of_one_ridge_are_ranked_with_equal_reg_f_beside_each_other():
    groups = rank_groups(MODELS, "woodbury")
    assert [group.label for group in groups] == ["EASEText", "ridge 50", "ridge 100"]
    assert groups[2].models == (MODELS[1], MODELS[4], MODELS[2])


def test_the_direct_route_ranks_each_reg_f_by_itself():
    labels = [group.label for group in rank_groups(MODELS, "direct")]
    assert labels == [
        "EASEText, reg_f 5",
        "ridge 50, reg_f 1",
        "ridge 100",
        "ridge 100, reg_f 1",
        "ridge 100, reg_f 5",
    ]
