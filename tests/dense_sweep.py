"""One model of a sweep fitted and evaluated by the dense formulas."""

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.metrics import evaluate_top
from l3ae_dist.storage.workspace import Workspace


def dense_weights(row, x, f):
    if row["model"] == "EASEText":
        return cf.semantic_dense(f, row["reg_f"])
    if row["model"] == "EASE":
        return cf.ease_dense(x, row["ridge"])
    return cf.l3ae_dense(x, cf.semantic_dense(f, row["reg_f"]), row["reg_x"], row["reg_e"])


def dense_metrics(result, row, f, split):
    """Fit and evaluate one model alone, by the dense formulas."""
    ds = Dataset(Workspace.open(result["workspace"]), result["dataset"]["id"])
    x = ds.user_rows("train", 0, ds.n_users)
    scores = x.toarray().astype(float) @ dense_weights(row, x.toarray().astype(float), f.T.astype(float))
    top, _ = top_k(scores, 20, seen=x)
    return evaluate_top(top, ds.user_rows(split, 0, ds.n_users), ds.popularity(), (5, 20))
