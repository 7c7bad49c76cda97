"""The linear autoencoders as scikit-learn estimators: L3AE, EASE, and the other heads of their inverse."""

from l3ae_dist.config.section import SectionValues
from l3ae_dist.linalg.heads import Diagonal
from l3ae_dist.model.estimator_base import Estimator


class L3AE(Estimator):
    """LLM-enhanced linear autoencoder (Moon, Park, Lee, CIKM 2025), exact, out of core.

    Parameters
    ----------
    reg_x, reg_f, reg_e
        The paper's lambda_X (may be negative), lambda_F and lambda_KD; ``reg_x + reg_e > 0``.
    diagonal, xi
        Constraint on the weight of an item for itself: ``"zero"`` (the paper's), ``"at_most"`` xi (RLAE) or
        ``"none"`` (LAE).
    p
        Share of the interactions that are dropped at random, in expectation (EDLAE, DLAE, RDLAE).
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    a, b
        Weights of dropped and of kept interactions in the loss (DEQL); None for none.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    weighted_dropout
        Whether the penalty of dropout counts interactions by the weights of their users (``beta``).
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others get
        the column of their text; None solves all.
    encoder, transform, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "l3ae"

    def __init__(
        self,
        reg_x: float = 100.0,
        reg_f: float = 5.0,
        reg_e: float = 100.0,
        *,
        diagonal: Diagonal = "zero",
        xi: float | None = None,
        p: float = 0.0,
        alpha: float = 0.0,
        beta: float = 0.0,
        a: float | None = None,
        b: float | None = None,
        keep_diagonal: bool = False,
        weighted_dropout: bool = False,
        encoder: SectionValues | None = None,
        transform: SectionValues | None = None,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.reg_f, self.reg_e = reg_x, reg_f, reg_e
        self.diagonal, self.xi, self.p = diagonal, xi, p
        self.alpha, self.beta, self.a, self.b = alpha, beta, a, b
        self.keep_diagonal, self.weighted_dropout = keep_diagonal, weighted_dropout
        self.encoder, self.transform = encoder, transform
        self.core, self.data_options, self.compute = core, data_options, compute


class EASE(Estimator):
    """EASE (Steck, WWW 2019): the same system without text.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "ease"

    def __init__(
        self,
        reg_x: float = 100.0,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.alpha, self.beta = alpha, beta
        self.core, self.data_options, self.compute = core, data_options, compute


class LAE(Estimator):
    """Linear autoencoder without a constraint on the diagonal (Moon, Kim, Lee, SIGIR 2023).

    Its diagonal is left out of the scores, as in the published code, unless ``keep_diagonal`` is set.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "lae"

    def __init__(
        self,
        reg_x: float = 100.0,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        keep_diagonal: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.alpha, self.beta = alpha, beta
        self.keep_diagonal = keep_diagonal
        self.core, self.data_options, self.compute = core, data_options, compute


class RLAE(Estimator):
    """Linear autoencoder with a bound on the diagonal, ``B_jj <= xi`` (Moon, Kim, Lee, SIGIR 2023).

    Parameters
    ----------
    reg_x
        Ridge, positive.
    xi
        Bound of the diagonal, at least 0.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "rlae"

    def __init__(
        self,
        reg_x: float = 100.0,
        xi: float = 0.1,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        keep_diagonal: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.xi = reg_x, xi
        self.alpha, self.beta = alpha, beta
        self.keep_diagonal = keep_diagonal
        self.core, self.data_options, self.compute = core, data_options, compute


class EDLAE(Estimator):
    """EASE with dropout (Steck, NeurIPS 2020): the penalty ``p / (1 - p) diag(X'X)`` is added.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    p
        Share of the interactions that are dropped at random, in expectation; 0 to below 1.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    weighted_dropout
        Whether the penalty of dropout counts interactions by the weights of their users (``beta``).
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "edlae"

    def __init__(
        self,
        reg_x: float = 100.0,
        p: float = 0.33,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        weighted_dropout: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.p = reg_x, p
        self.alpha, self.beta = alpha, beta
        self.weighted_dropout = weighted_dropout
        self.core, self.data_options, self.compute = core, data_options, compute


class DLAE(Estimator):
    """LAE with dropout (Moon, Kim, Lee, SIGIR 2023).

    Parameters
    ----------
    reg_x
        Ridge, positive.
    p
        Share of the interactions that are dropped at random, in expectation; 0 to below 1.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    weighted_dropout
        Whether the penalty of dropout counts interactions by the weights of their users (``beta``).
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "dlae"

    def __init__(
        self,
        reg_x: float = 100.0,
        p: float = 0.33,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        keep_diagonal: bool = False,
        weighted_dropout: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.p = reg_x, p
        self.alpha, self.beta = alpha, beta
        self.keep_diagonal, self.weighted_dropout = keep_diagonal, weighted_dropout
        self.core, self.data_options, self.compute = core, data_options, compute


class RDLAE(Estimator):
    """RLAE with dropout (Moon, Kim, Lee, SIGIR 2023).

    Parameters
    ----------
    reg_x
        Ridge, positive.
    p
        Share of the interactions that are dropped at random, in expectation; 0 to below 1.
    xi
        Bound of the diagonal, at least 0.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    weighted_dropout
        Whether the penalty of dropout counts interactions by the weights of their users (``beta``).
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "rdlae"

    def __init__(
        self,
        reg_x: float = 100.0,
        p: float = 0.33,
        xi: float = 0.1,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        keep_diagonal: bool = False,
        weighted_dropout: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.p, self.xi = reg_x, p, xi
        self.alpha, self.beta = alpha, beta
        self.keep_diagonal, self.weighted_dropout = keep_diagonal, weighted_dropout
        self.core, self.data_options, self.compute = core, data_options, compute


class DAN(Estimator):
    """Linear autoencoder with data-adaptive normalisation of items and users (arXiv 2504.05805).

    Parameters
    ----------
    reg_x
        Ridge, positive.
    p
        Share of the interactions that are dropped at random, in expectation; 0 to below 1.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN).
    diagonal, xi
        Constraint on the weight of an item for itself: ``"zero"``, ``"at_most"`` xi or ``"none"``.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    weighted_dropout
        Whether the penalty of dropout counts interactions by the weights of their users (``beta``).
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "dan"

    def __init__(
        self,
        reg_x: float = 100.0,
        p: float = 0.4,
        alpha: float = 0.3,
        beta: float = 0.2,
        *,
        diagonal: Diagonal = "zero",
        xi: float | None = None,
        keep_diagonal: bool = False,
        weighted_dropout: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.p, self.alpha, self.beta = reg_x, p, alpha, beta
        self.diagonal, self.xi = diagonal, xi
        self.keep_diagonal, self.weighted_dropout = keep_diagonal, weighted_dropout
        self.core, self.data_options, self.compute = core, data_options, compute


class DEQL(Estimator):
    """Linear autoencoder whose loss weighs dropped and kept interactions (arXiv 2603.07402).

    Parameters
    ----------
    reg_x
        The paper's L2 weight, positive.
    p
        Share of the interactions that are dropped at random, in expectation; 0 to below 1.
    a, b
        Weights of dropped and of kept interactions.
    diagonal
        ``"none"``, or ``"zero"``, which ranks as EDLAE does.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN); 0 leaves both out.
    keep_diagonal
        Whether items of a history score themselves, where recommendations may repeat.
    core
        ``{"min_interactions": k}``: items with at least k interactions are solved exactly, and the others
        score 0; None solves all.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "deql"

    def __init__(
        self,
        reg_x: float = 100.0,
        p: float = 0.33,
        a: float = 1.0,
        b: float = 0.5,
        *,
        diagonal: Diagonal = "none",
        alpha: float = 0.0,
        beta: float = 0.0,
        keep_diagonal: bool = False,
        core: SectionValues | None = None,
        data_options: SectionValues | None = None,
        compute: SectionValues | None = None,
    ) -> None:
        self.reg_x, self.p, self.a, self.b = reg_x, p, a, b
        self.diagonal, self.alpha, self.beta = diagonal, alpha, beta
        self.keep_diagonal = keep_diagonal
        self.core, self.data_options, self.compute = core, data_options, compute
