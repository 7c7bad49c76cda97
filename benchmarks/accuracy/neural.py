"""The neural peers and their settings; torch, which takes seconds to import, comes with a fit."""

from typing import ClassVar

from accuracy.methods import Data, Draw, Peer, ScoredModel, Setting


class LightGCN(Peer):
    """LightGCN with the settings of its paper, and around them."""

    name = "LightGCN"
    needs = ("torch",)
    slow = True
    published: ClassVar[Setting] = {"layers": 3, "rate": 1e-3, "penalty": 1e-4, "batch": 2048}

    def ready(self) -> None:
        """Import torch."""
        import accuracy.graph_models  # noqa: F401

    def suggest(self, draw: Draw) -> Setting:
        """Draw layers, learning rate, penalty and batch."""
        return {
            "layers": draw.suggest_int("layers", 1, 4),
            "rate": draw.suggest_float("rate", 3e-4, 1e-2, log=True),
            "penalty": draw.suggest_float("penalty", 1e-6, 1e-2, log=True),
            "batch": draw.suggest_categorical("batch", (1024, 2048, 8192)),
        }

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Train the embeddings."""
        from accuracy.graph_models import LightGCNNet, trained

        return trained(LightGCNNet, data, setting, seconds)


class AlphaRec(Peer):
    """AlphaRec with the settings of its authors' code, and around them."""

    name = "AlphaRec"
    needs = ("torch",)
    slow = True
    published: ClassVar[Setting] = {
        "layers": 2, "rate": 5e-4, "tau": 0.15, "hidden": 1536, "negatives": 256, "batch": 4096,
    }  # fmt: skip

    def ready(self) -> None:
        """Import torch."""
        import accuracy.graph_models  # noqa: F401

    def suggest(self, draw: Draw) -> Setting:
        """Draw layers, learning rate, temperature, hidden units and negatives."""
        return {
            "layers": draw.suggest_int("layers", 1, 3),
            "rate": draw.suggest_float("rate", 2e-4, 3e-3, log=True),
            "tau": draw.suggest_float("tau", 0.05, 0.3, log=True),
            "hidden": draw.suggest_categorical("hidden", (384, 768, 1536)),
            "negatives": draw.suggest_categorical("negatives", (64, 256)),
            "batch": 4096,
        }

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Train the network on the texts."""
        from accuracy.graph_models import AlphaRecNet, trained

        return trained(AlphaRecNet, data, setting, seconds)
