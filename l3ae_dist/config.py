"""Configuration of a run: pydantic models, YAML, environment variables and dotted overrides."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from l3ae_dist.data.options import IngestOptions, WordOptions
from l3ae_dist.embed.options import EncoderOptions, TransformOptions
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluate_options import METRICS, EvaluateConfig
from l3ae_dist.members import ADDITIVE, MEMBERS, Features, ModelSpec
from l3ae_dist.prices import PriceConfig
from l3ae_dist.sweep_options import SweepOptions

ENVIRONMENT_PREFIX = "L3AE__"
_UNITS = {"": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
_UNITS["b"] = 1


def parse_bytes(value: Any) -> int:
    """A byte size such as ``2GiB``, ``500 MB``, ``1.5g`` (binary) or a number of bytes.

    Raises
    ------
    ConfigError
        When it is no size.

    >>> parse_bytes("2GiB") == 2 * 2**30
    True
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match.group(2) not in _UNITS:
        raise ConfigError(f"{value!r} is not a size; write it like 2GiB, 500MB or a number of bytes")
    return int(float(match.group(1)) * _UNITS[match.group(2)])


ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of the sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class DataConfig(Section):
    """Where the interactions, the items and (instead of text) the embeddings are."""

    interactions: str | None = None
    """Path, glob, directory or URL of Parquet, CSV or JSON Lines; or the authors' dataset folder."""
    items: str | None = None
    """The same for the catalog: one row per item, with its id and text."""
    embeddings: str | None = None
    """Precomputed embeddings (.npy, Parquet keyed by item id, Zarr, .pkl) instead of embedding the text."""
    options: IngestOptions = IngestOptions.model_validate({})
    """Column names, filters and the split."""


class ModelConfig(Section):
    """One model with its regularisers."""

    name: Literal[
        "l3ae",
        "ease",
        "ease_text",
        "text_similarity",
        "collective_ease",
        "additive_ease",
        "l3ae_collective",
        "l3ae_additive",
        "gfcf",
    ] = "l3ae"
    """``l3ae`` uses interactions and text, ``ease`` and ``gfcf`` interactions alone, ``ease_text`` and
    ``text_similarity`` text alone; the collective and additive members mix both."""
    reg_x: float = Field(default=100.0, allow_inf_nan=False)
    """Ridge weight of the collaborative phase; may be negative while the ridge stays positive."""
    reg_f: Positive = 5.0
    """Ridge weight of the semantic phase (l3ae, ease_text and the additive members)."""
    reg_e: NotNegative = 100.0
    """Weight that pulls the model to the semantic one (l3ae; 0 is EASE)."""
    alpha: NotNegative | None = None
    """Weight of the features (collective: 0.5 or 5), of the semantic model (additive: 0.5) or of the
    low-pass filter (gfcf: 0.3)."""
    rank: int = Field(default=256, ge=1)
    """Singular vectors of the low-pass filter (gfcf)."""
    features: Literal["auto", "embeddings", "words"] = "auto"
    """Dense embeddings or multi-hot words; auto takes words for collective_ease and additive_ease."""

    @property
    def uses(self) -> Features | None:
        """The item features that the model reads."""
        own = MEMBERS[self.name].features
        return own if own is None or self.features == "auto" else self.features

    @property
    def ridge(self) -> float:
        """What is added to the diagonal of the Gram matrix: ``reg_x + reg_e`` for l3ae, else ``reg_x``."""
        return self.reg_x + (self.reg_e if self.name == "l3ae" else 0.0)

    @property
    def weight(self) -> float:
        """``alpha``, or the member's own."""
        return MEMBERS[self.name].alpha if self.alpha is None else self.alpha

    def spec(self) -> ModelSpec:
        """The model with the parameters that it has, and no others."""
        member = MEMBERS[self.name]
        values: dict[str, Any] = {name: getattr(self, name) for name in member.params}
        if "alpha" in values:
            values["alpha"] = self.weight
        return ModelSpec(member.title, **values)

    @model_validator(mode="after")
    def _ridge_is_positive(self) -> "ModelConfig":
        if "reg_x" in MEMBERS[self.name].params and self.ridge <= 0:
            terms = "reg_x + reg_e" if self.name == "l3ae" else f"reg_x ({self.name} has no reg_e)"
            raise ConfigError(
                f"the ridge {terms} is {self.ridge:g} but must be greater than 0; raise model.reg_x"
                + (" or model.reg_e" if self.name == "l3ae" else "")
            )
        if MEMBERS[self.name].title in ADDITIVE and self.weight > 1:
            raise ConfigError(
                f"alpha is {self.weight:g}, but {self.name} mixes with 1 - alpha; choose 0 to 1"
            )
        return self


class GridConfig(Section):
    """A grid from which each model's regularisers are picked on the validation split."""

    ridges: tuple[Positive, ...] = Field(min_length=1)
    """Values of ``reg_x + reg_e``; each costs one factorisation, shared by all models."""
    reg_f: tuple[Positive, ...] = Field(default=(5.0,), min_length=1)
    """Values of the semantic ridge weight."""
    reg_e: tuple[NotNegative, ...] = Field(default=(100.0,), min_length=1)
    """Values of the distillation weight; ``reg_x`` is the ridge minus it."""
    alphas: tuple[NotNegative, ...] = ()
    """Values of alpha for the members that have one; ``model.alpha`` when empty."""

    @model_validator(mode="after")
    def _distils(self) -> "GridConfig":
        if not any(self.reg_e):
            raise ConfigError(
                "grid.reg_e holds no value above 0, and with 0 L3AE is EASE, which is evaluated beside it "
                "anyway; add a value above 0, or take the model ease"
            )
        return self


class ComputeConfig(Section):
    """Precision, memory and processes."""

    dtype: Literal["auto", "float32", "float64"] = "auto"
    """Arithmetic of the tiles; auto takes float32 where the condition number allows it."""
    semantic_route: Literal["auto", "woodbury", "direct"] = "auto"
    """Semantic phase through a d x d inverse or through n x n tiles; auto takes the cheaper."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where tiles are computed; auto takes the first GPU that a worker process sees, if any."""
    memory_budget: ByteSize = 2 * 2**30
    """Bytes per Dask worker process, interpreter included."""
    workers: int = Field(default=1, ge=1)
    """Dask worker processes."""
    threads: int | None = Field(default=None, ge=1)
    """BLAS threads per worker; the cores divided by the workers when null. Workers of an existing
    cluster keep the threads that they were started with."""
    tile_size: int | None = Field(default=None, ge=1)
    """Rows and columns of a tile; chosen from the memory budget when null."""
    cluster: Literal["local", "ray", "address", "synchronous"] = "local"
    """Start worker processes here, or as actors of Ray, or use an existing Dask scheduler; or run every
    task in this process, for debugging. With ray, ``workers``, ``threads`` and ``memory_budget`` come
    from the cluster's nodes unless they are set."""
    address: str | None = None
    """The scheduler's address when ``cluster`` is ``address``."""
    insecure: bool = False
    """Allow an unencrypted scheduler off this machine."""
    dashboard: bool = True
    """Serve the Dask dashboard."""
    dashboard_address: str = Field(default="127.0.0.1:0", pattern=r"^\S*:[0-9]+$")
    """Where, as HOST:PORT; port 0 is a free one."""
    start_timeout: Positive = 600
    """Seconds to wait for the resources of a Ray cluster, which may have to start nodes."""
    keep: tuple[Literal["L", "Linv", "P"], ...] = ()
    """Factors to keep after the stage that needs them, which makes single tiles repairable; with P, the
    inverses of all ridges that are tried and not only the chosen one."""
    durable: bool = False
    """Flush every write to the disk, so that finished tiles survive a power cut."""
    actors: int | None = Field(default=None, ge=1)
    """Ray actors that embed; one for each GPU, or CPU where there is none, when null."""
    gpus_per_actor: NotNegative | None = None
    """GPUs of each; a fraction lets actors share one, 0 embeds on CPUs; 1 where there are GPUs when null."""
    performance_report: bool = True
    """Whether Dask's report (one HTML file) of a run of more than 5 s is kept; needs the dashboard."""
    ray_dashboard: bool = True
    """Whether a Ray that this run starts serves its dashboard (on 127.0.0.1; 0.9 GB of memory)."""

    @model_validator(mode="after")
    def _address_goes_with_cluster(self) -> "ComputeConfig":
        if self.cluster == "address" and not self.address:
            raise ConfigError(
                "compute.cluster is address but compute.address is not set; set it to tls://HOST:PORT"
            )
        if self.cluster != "address" and self.address:
            raise ConfigError(
                f"compute.address is {self.address!r} but compute.cluster is {self.cluster}; "
                "set compute.cluster=address"
            )
        return self


class RunConfig(Section):
    """Everything a run needs to know."""

    workspace: str
    """Path or URL of the workspace."""
    data: DataConfig = DataConfig()
    """Inputs."""
    encoder: EncoderOptions = EncoderOptions.model_validate({})
    """How item text is embedded."""
    transform: TransformOptions = TransformOptions.model_validate({})
    """What is done with embeddings before they are used."""
    words: WordOptions = WordOptions.model_validate({})
    """How item text becomes multi-hot words."""
    model: ModelConfig = ModelConfig()
    """The model, unless ``grid`` picks its regularisers."""
    grid: GridConfig | None = None
    """Pick each model's regularisers on the validation split."""
    sweep: SweepOptions | None = None
    """What `l3ae-dist sweep` tries."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """What is measured."""
    compute: ComputeConfig = ComputeConfig()
    """Precision, memory and processes."""
    report: bool = True
    """Whether the commands end with a report, one HTML file in the workspace."""
    prices: PriceConfig | None = None
    """What object storage costs, for the estimate before the tile stages."""


def load_config(
    path: str | Path | None, overrides: Mapping[str, Any] | None = None, *, environment: bool = True
) -> RunConfig:
    """Read a run's configuration; later sources win: YAML file, environment, overrides.

    Parameters
    ----------
    path
        YAML file; None for defaults. Relative paths inside are relative to the working directory.
    overrides
        Dotted keys, such as ``{"model.reg_x": "-100"}``; strings are read as YAML values.
    environment
        Whether variables like ``L3AE__COMPUTE__WORKERS=4`` count.

    Raises
    ------
    ConfigError
        One sentence for every problem: the value, the limit, the next step.
    """
    values = {} if path is None else _read_yaml(Path(path))
    if environment:
        for name, text in sorted(os.environ.items()):
            if name.startswith(ENVIRONMENT_PREFIX):
                key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
                _set(values, key, _yaml_value(text, name))
    for key, value in (overrides or {}).items():
        _set(values, key, _yaml_value(value, key) if isinstance(value, str) else value)
    return make_config(values)


def make_config(values: Mapping[str, Any]) -> RunConfig:
    """Validate a nested mapping; see :func:`load_config` for what it raises."""
    try:
        # an empty section of a YAML file is null: the section's defaults
        return RunConfig.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(problem) for problem in error.errors())) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}; check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}; correct it there.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds a {type(values).__name__}, not sections; start it with `workspace: PATH`."
        )
    return values


def _yaml_value(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value {text!r} of {key} is not valid YAML: {_one_line(error)}.") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    here = values
    for section in sections:
        if here.get(section) is None:
            here[section] = {}
        if not isinstance(here[section], dict):
            raise ConfigError(
                f"{key!r} cannot be set: {section!r} is a value, not a section; remove the part after it."
            )
        here = here[section]
    here[last] = value


def _sentence(problem: ErrorDetails) -> str:
    """One pydantic problem as one sentence."""
    key = ".".join(str(part) for part in problem["loc"])
    context: dict[str, Any] = problem.get("ctx", {})
    change = f"correct it in the configuration or with --set {key}=VALUE."
    match problem["type"]:
        case "missing":
            return f"{key} is not set; give it in the configuration or with --set {key}=VALUE."
        case "extra_forbidden":
            return _unknown_key(problem["loc"])
        case "value_error":
            message = str(context["error"]).rstrip(".")
            return (
                f"{message}."
                if not key or message.startswith(("compute.", "the ridge"))
                else f"{key}: {message}."
            )
        case "string_pattern_mismatch" if key == "evaluate.metric":
            return f"{key} is {problem['input']!r} but must be one of {', '.join(METRICS)} with @K; {change}"
    limit = problem["msg"].removeprefix("Input should be ").removeprefix("Value should ")
    return f"{key} is {problem['input']!r} but must be {limit}; {change}"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *sections, name = [str(part) for part in location]
    model: type[BaseModel] = RunConfig
    for section in sections:
        model = _model_of(model.model_fields[section].annotation) if section in model.model_fields else model
    key = ".".join([*sections, name])
    near = get_close_matches(name, model.model_fields, n=1, cutoff=0.5)
    if near:
        return f"unknown key {key}; did you mean {'.'.join([*sections, near[0]])}?"
    return f"unknown key {key}; known here are {', '.join(model.model_fields)}."


def _model_of(annotation: Any) -> type[BaseModel]:
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else RunConfig
