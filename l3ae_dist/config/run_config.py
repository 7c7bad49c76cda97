"""The configuration of a run: all its sections."""

from pydantic import model_validator

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.data import CoreConfig, IngestConfig, WordsConfig
from l3ae_dist.config.embedding import EncoderConfig, TransformConfig
from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.members import LINEAR, MEMBERS
from l3ae_dist.config.model import GridConfig, ModelConfig
from l3ae_dist.config.model_name import ModelName
from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.config.section import TextSection
from l3ae_dist.config.sweep import SweepConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named


class DataConfig(TextSection):
    """Sources of the interactions, of the items and (instead of text) of the embeddings."""

    interactions: str | tuple[str, ...] | None = None
    """Path, pattern, folder or URL of a table in any format, or a list of these; or the authors' folder."""
    items: str | tuple[str, ...] | None = None
    """Path, pattern, folder or URL of the catalog, or a list of these: for each item its id and text."""
    embeddings: str | None = None
    """Precomputed embeddings (.npy, Parquet keyed by item id, Zarr, .pkl) instead of embedding the text."""
    options: IngestConfig = IngestConfig.model_validate({})
    """Column names, filters and the split."""
    core: CoreConfig | None = None
    """Solve items with enough interactions exactly, and give the others the column of their text."""


class RunConfig(TextSection):
    """The whole configuration of a run."""

    workspace: str
    """Path or URL of the workspace."""
    name: ModelName | None = None
    """Name of the model that the run fits; its kind, the date and a number, such as ``l3ae-2026-11-26-1``,
    when it is not given. A name stands for one model for ever."""
    data: DataConfig = DataConfig()
    """Inputs."""
    encoder: EncoderConfig = EncoderConfig.model_validate({})
    """Encoder of the item text."""
    transform: TransformConfig = TransformConfig.model_validate({})
    """Transformation of the embeddings before they are used."""
    words: WordsConfig = WordsConfig.model_validate({})
    """Multi-hot words made of the item text."""
    model: ModelConfig = ModelConfig()
    """The model, unless ``grid`` picks its regularisers."""
    grid: GridConfig | None = None
    """Pick each model's regularisers on the validation split."""
    sweep: SweepConfig | None = None
    """Hyper-parameters that `l3ae-dist sweep` tries."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Metrics, and the users that they are measured on."""
    compute: ComputeConfig = ComputeConfig()
    """Precision, memory and processes."""
    report: bool = True
    """End the commands with a report, one HTML file in the workspace."""
    prices: PriceConfig | None = None
    """Prices of object storage, for the estimate before the tile stages."""

    @model_validator(mode="after")
    def _transforms_embeddings(self) -> "RunConfig":
        if self.transform.active and self.model.uses == "words":
            raise ConfigError(
                f"transform is of embeddings, and the model {self.model.name} uses words; leave transform "
                "out, or set model.features to embeddings"
            )
        return self

    @model_validator(mode="after")
    def _core_has_an_inverse(self) -> "RunConfig":
        if self.data.core is None:
            return self
        if MEMBERS[self.model.name].title not in LINEAR:
            known = [name for name, member in MEMBERS.items() if member.title in LINEAR]
            raise ConfigError(
                f"data.core is of models that invert a matrix of the interactions, and model.name is "
                f"{self.model.name}; leave data.core out, or choose one of {named(known)}"
            )
        if self.compute.semantic_route == "direct":
            raise ConfigError(
                "data.core needs the woodbury route, which gives the items outside the core their columns; "
                "leave compute.semantic_route: direct out"
            )
        return self

    @model_validator(mode="after")
    def _sweep_distils(self) -> "RunConfig":
        if self.sweep is not None and self.model.name == "l3ae":
            self.sweep.check_distils(self.model.spec())
        return self

    @model_validator(mode="after")
    def _grid_is_of_the_model(self) -> "RunConfig":
        if self.grid is None:
            return self
        name, member = self.model.name, MEMBERS[self.model.name]
        for axis, parameter in (("ps", "p"), ("betas", "beta"), ("xis", "xi")):
            if getattr(self.grid, axis) and parameter not in member.all_params:
                raise ConfigError(
                    f"the grid has {axis}, but {name} has no {parameter}; leave out grid.{axis}"
                )
        if self.grid.xis and self.model.spec().diagonal != "at_most":
            raise ConfigError("the grid has xis, but no bound; set model.diagonal to at_most and model.xi")
        if member.title in LINEAR and max(self.grid.alphas, default=0.0) > 1:
            raise ConfigError(
                f"the grid has alpha {max(self.grid.alphas):g}, but for {name} alpha is an exponent of "
                "popularity; choose values from 0 to 1"
            )
        return self
