"""The other members of the family as estimators; L3AE and EASE are in :mod:`l3ae_dist.model.estimator`."""

from typing import Any

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.model.estimator import Estimator


class _Member(Estimator):
    """A member whose parameters, beside the sections, are those of :mod:`l3ae_dist.config.members`."""

    def _model_section(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in MEMBERS[self._name].params}
        if hasattr(self, "features"):
            values["features"] = self.features
        return values


class EASEText(_Member):
    """EASE on item features: ``C``, the semantic phase of L3AE alone (Moon, Park, Lee, CIKM 2025).

    Parameters
    ----------
    reg_f
        Ridge weight, positive.
    features
        ``"embeddings"`` or ``"words"``.
    encoder, transform, words, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "ease_text"

    def __init__(
        self,
        reg_f: float = 5.0,
        *,
        features: str = "embeddings",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.reg_f = reg_f
        self.features = features
        self.encoder = encoder
        self.transform = transform
        self.words = words
        self.data_options = data_options
        self.compute = compute


class TextSimilarity(_Member):
    """``F'F`` with zero diagonal: cosine similarity for features of unit length.

    Parameters
    ----------
    features
        ``"embeddings"`` or ``"words"``.
    encoder, transform, words, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "text_similarity"

    def __init__(
        self,
        *,
        features: str = "embeddings",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.features = features
        self.encoder = encoder
        self.transform = transform
        self.words = words
        self.data_options = data_options
        self.compute = compute


class CollectiveEASE(_Member):
    """EASE on ``[X; alpha F]`` (collective EASE; Jeunen et al., RecSys 2020), F multi-hot words.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    alpha
        Weight of the features.
    features
        ``"words"`` or ``"embeddings"``.
    encoder, transform, words, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "collective_ease"

    def __init__(
        self,
        reg_x: float = 100.0,
        alpha: float = 0.5,
        *,
        features: str = "words",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.alpha = alpha
        self.features = features
        self.encoder = encoder
        self.transform = transform
        self.words = words
        self.data_options = data_options
        self.compute = compute


class L3AECollective(CollectiveEASE):
    """EASE on ``[X; alpha F]`` with F the text embeddings; parameters as :class:`CollectiveEASE`."""

    _name = "l3ae_collective"

    def __init__(
        self,
        reg_x: float = 100.0,
        alpha: float = 5.0,
        *,
        features: str = "embeddings",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            reg_x,
            alpha,
            features=features,
            encoder=encoder,
            transform=transform,
            words=words,
            data_options=data_options,
            compute=compute,
        )


class AdditiveEASE(_Member):
    """``(1 - alpha) B_ease + alpha C`` (additive EASE; Jeunen et al., RecSys 2020), F multi-hot words.

    Parameters
    ----------
    reg_x, reg_f
        Ridge weights of the two models, positive.
    alpha
        Share of the semantic model, 0 to 1.
    features
        ``"words"`` or ``"embeddings"``.
    encoder, transform, words, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "additive_ease"

    def __init__(
        self,
        reg_x: float = 100.0,
        reg_f: float = 100.0,
        alpha: float = 0.5,
        *,
        features: str = "words",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.reg_f = reg_f
        self.alpha = alpha
        self.features = features
        self.encoder = encoder
        self.transform = transform
        self.words = words
        self.data_options = data_options
        self.compute = compute


class L3AEAdditive(AdditiveEASE):
    """``(1 - alpha) B_ease + alpha C`` on text embeddings; parameters as :class:`AdditiveEASE`."""

    _name = "l3ae_additive"

    def __init__(
        self,
        reg_x: float = 100.0,
        reg_f: float = 10.0,
        alpha: float = 0.5,
        *,
        features: str = "embeddings",
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            reg_x,
            reg_f,
            alpha,
            features=features,
            encoder=encoder,
            transform=transform,
            words=words,
            data_options=data_options,
            compute=compute,
        )


class GFCF(_Member):
    """GF-CF (Shen et al., CIKM 2021): a linear filter and an ideal low-pass filter of the interactions.

    Parameters
    ----------
    rank
        Singular vectors of the low-pass filter.
    alpha
        Its weight.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "gfcf"

    def __init__(
        self,
        rank: int = 256,
        alpha: float = 0.3,
        *,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.data_options = data_options
        self.compute = compute
