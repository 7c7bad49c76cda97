"""The members beside the linear ones as scikit-learn estimators: text alone, mixtures, and GF-CF."""

from l3ae_dist.config.section import SectionValues
from l3ae_dist.model.estimator_base import Estimator


class EASEText(Estimator):
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
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_f, self.features = reg_f, features
        self.encoder, self.transform, self.words = encoder, transform, words
        self.data_options, self.compute = data_options, compute


class TextSimilarity(Estimator):
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
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.features = features
        self.encoder, self.transform, self.words = encoder, transform, words
        self.data_options, self.compute = data_options, compute


class CollectiveEASE(Estimator):
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
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.alpha, self.features = reg_x, alpha, features
        self.encoder, self.transform, self.words = encoder, transform, words
        self.data_options, self.compute = data_options, compute


class L3AECollective(CollectiveEASE):
    """EASE on ``[X; alpha F]`` with F the text embeddings; parameters as :class:`CollectiveEASE`."""

    _name = "l3ae_collective"

    def __init__(
        self,
        reg_x: float = 100.0,
        alpha: float = 5.0,
        *,
        features: str = "embeddings",
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
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


class AdditiveEASE(Estimator):
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
        reg_f: float = 5.0,
        alpha: float = 0.5,
        *,
        features: str = "words",
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.reg_f, self.alpha, self.features = reg_x, reg_f, alpha, features
        self.encoder, self.transform, self.words = encoder, transform, words
        self.data_options, self.compute = data_options, compute


class L3AEAdditive(AdditiveEASE):
    """``(1 - alpha) B_ease + alpha C`` on text embeddings; parameters as :class:`AdditiveEASE`."""

    _name = "l3ae_additive"

    def __init__(
        self,
        reg_x: float = 100.0,
        reg_f: float = 5.0,
        alpha: float = 0.5,
        *,
        features: str = "embeddings",
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        words: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
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


class GFCF(Estimator):
    """GF-CF (Shen et al., CIKM 2021): a linear filter and an ideal low-pass filter of the interactions.

    Parameters
    ----------
    rank
        Singular vectors of the low-pass filter.
    alpha
        Weight of the low-pass filter.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "gfcf"

    def __init__(
        self,
        rank: int = 256,
        alpha: float = 0.3,
        *,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self.data_options, self.compute = data_options, compute
