"""The family of models as scikit-learn estimators: L3AE, EASE, and the members beside them."""

from pathlib import Path
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.config.section import SectionValues
from l3ae_dist.data.tables import Table, Vectors
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import FittedModel, load_model
from l3ae_dist.model.lifecycle import ModelLifecycle
from l3ae_dist.runtime.events import OnEvent

_FEATURE_SECTIONS = ("encoder", "transform", "words")


class Estimator(ModelLifecycle, BaseEstimator):  # type: ignore[misc]
    """Base class of the family, by scikit-learn's conventions.

    Attributes
    ----------
    model_
        The :class:`~l3ae_dist.model.fitted.FittedModel`; ``model_.dataset`` has the ids and counts.
    certificate_, n_items_
        Residual, tolerance and condition number of the solve; items of the catalog.
    result_
        What :func:`l3ae_dist.run` returned; an estimator that was loaded has none.
    """

    _name: ClassVar[str]
    data_options: SectionValues | None
    compute: SectionValues | None

    def fit(
        self,
        interactions: Table,
        items: "Table | None" = None,
        *,
        workspace: str | Path,
        embeddings: "Vectors | None" = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Fit and keep everything in ``workspace``; what is there already is reused.

        Parameters
        ----------
        interactions, items
            DataFrames, paths or URLs.
        workspace
            Path or URL.
        embeddings
            (n, d) array, .npy, Parquet or Zarr, instead of embedding the items' text.
        on_event
            Called with every event; a :func:`~l3ae_dist.runtime.watch.progress.progress_printer` shows them.

        Returns
        -------
        self, with ``model_``, ``certificate_``, ``n_items_`` and ``result_``.
        """
        from l3ae_dist.config.load import make_config
        from l3ae_dist.pipeline.run import run

        values: dict[str, Any] = {
            "workspace": str(workspace),
            "model": {"name": self._name, **self._model_section()},
            "data": {"options": {"split": "none", **(self.data_options or {})}},
            "compute": self.compute or {},
            **{name: getattr(self, name, None) or {} for name in _FEATURE_SECTIONS},
        }
        self.result_ = run(
            make_config(values),
            interactions=interactions,
            items=items,
            embeddings=embeddings,
            on_event=on_event,
            until="fit",
        )
        return self._with(load_model(str(workspace)))

    @classmethod
    def load(cls, workspace: str, *, memory_budget: int | str = "2GiB", threads: int | None = None) -> Self:
        """Open the fitted model of a workspace as an estimator, from any process.

        Parameters
        ----------
        workspace
            Path or URL.
        memory_budget
            Bytes of arrays that a call may hold beside the interpreter (such as ``"2GiB"``); half of it is
            for what is kept between calls.
        threads
            Threads of a call; all cores when None.

        Raises
        ------
        ConfigError
            When the workspace holds another member of the family.
        """
        model = load_model(str(workspace), memory_budget=memory_budget, threads=threads)
        if model.name != MEMBERS[cls._name].title:
            raise ConfigError(
                f"{workspace} holds {model.name}, not {cls.__name__}; use {model.name}.load, or load_model."
            )
        return cls(**model.params)._with(model)

    def _model_section(self) -> dict[str, object]:
        """The parameters of the member and, where it has a choice, its features."""
        names = (*MEMBERS[self._name].params, "features")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _with(self, model: FittedModel) -> Self:
        self.model_ = model
        self.certificate_ = model.certificate
        self.n_items_ = model.n_items
        return self

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first.")
        return self.model_

    def _refitted(self, result: dict[str, Any]) -> Self:
        self.result_ = result
        return self._with(self._fitted().reopened())

    def _compute(self) -> SectionValues | None:
        return self.compute


class L3AE(Estimator):
    """LLM-enhanced linear autoencoder (Moon, Park, Lee, CIKM 2025), exact, out of core.

    Parameters
    ----------
    reg_x, reg_f, reg_e
        The paper's lambda_X (may be negative), lambda_F and lambda_KD; ``reg_x + reg_e > 0``.
    encoder, transform, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "l3ae"

    def __init__(
        self,
        reg_x: float = 0.0,
        reg_f: float = 5.0,
        reg_e: float = 100.0,
        *,
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.reg_f, self.reg_e = reg_x, reg_f, reg_e
        self.encoder, self.transform = encoder, transform
        self.data_options, self.compute = data_options, compute


class EASE(Estimator):
    """EASE (Steck, WWW 2019): the same system without text.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "ease"

    def __init__(
        self,
        reg_x: float = 100.0,
        *,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.data_options, self.compute = data_options, compute


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
        reg_f: float = 100.0,
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
        reg_f: float = 10.0,
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
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self.data_options, self.compute = data_options, compute
