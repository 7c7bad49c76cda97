"""The configuration of a run: all its sections."""

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.data import IngestConfig, WordsConfig
from l3ae_dist.config.embedding import EncoderConfig, TransformConfig
from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.model import GridConfig, ModelConfig
from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.config.section import TextSection
from l3ae_dist.config.sweep import SweepConfig


class DataConfig(TextSection):
    """Sources of the interactions, of the items and (instead of text) of the embeddings."""

    interactions: str | None = None
    """Path, glob, directory or URL of Parquet, CSV or JSON Lines; or the authors' dataset folder."""
    items: str | None = None
    """Path, glob, directory or URL of the catalog: one row per item, with its id and text."""
    embeddings: str | None = None
    """Precomputed embeddings (.npy, Parquet keyed by item id, Zarr, .pkl) instead of embedding the text."""
    options: IngestConfig = IngestConfig.model_validate({})
    """Column names, filters and the split."""


class RunConfig(TextSection):
    """The whole configuration of a run."""

    workspace: str
    """Path or URL of the workspace."""
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
