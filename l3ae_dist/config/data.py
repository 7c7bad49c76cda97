"""Sections on the data: columns, filters and split of the interactions, and words of the items' texts."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from l3ae_dist.config.section import Section
from l3ae_dist.errors import ConfigError

Separator: TypeAlias = Annotated[str, Field(min_length=1, max_length=4)]
Quoting: TypeAlias = Literal["minimal", "none"]
Compression: TypeAlias = Literal["none", "gzip", "zstd", "bz2", "zip"]


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Options of text files where guessing is wrong; None to guess.

    Parameters
    ----------
    separator
        Characters between two fields.
    quoting
        ``"minimal"``: fields may stand in double quotes; ``"none"``: quotes are characters like others.
    encoding
        Name of a codec of Python, such as ``"cp1252"``.
    compression
        Whatever the file's name ends in.
    column_names
        Names of the columns of files without a header.
    """

    separator: str | None = None
    quoting: Quoting | None = None
    encoding: str | None = None
    compression: Compression | None = None
    column_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of the columns of tables that have none: lists of pairs, arrays, matrices users x items.

    Parameters
    ----------
    by_position
        Names in the order of the columns, the user's and the item's first.
    values
        Columns that the values of a matrix are.
    """

    by_position: tuple[str, ...] = ("user_id", "item_id")
    values: tuple[str, ...] = ()


class IngestConfig(Section):
    """Column names, filters and the split of an interaction log; everything has a default."""

    user_column: str = "user_id"
    """Column of the interactions that holds the user id."""
    item_column: str = "item_id"
    """Column of the interactions that holds the item id."""
    id_type: Literal["auto", "string"] = "auto"
    """Integers where every id of every part is written as one and text else, or always text."""
    weight_column: str | None = None
    """Column of interaction weights, 0 for no interaction; binary when not given."""
    timestamp_column: str | None = None
    """Column that orders a user's interactions (numbers or ISO 8601 dates); for the leave_last_out split."""
    split_column: str | None = None
    """Column with a ready-made split: train, val (or valid, validation), test."""
    rating_column: str | None = None
    """Column compared with ``rating_threshold``."""
    rating_threshold: float | None = None
    """Keep interactions whose rating is at least this."""
    split: Literal["random", "leave_last_out", "strong", "none"] = "random"
    """Hold-out: random per user, the last two per user, whole users, or nothing."""
    valid_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of each user's interactions held out for validation (random split)."""
    test_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of each user's interactions held out for the test (random split)."""
    seed: int = 0
    """Seed of the random and strong splits."""
    heldout_users: float = Field(0.1, gt=0, lt=0.5)
    """Strong split: share of users held out for validation, and again for the test."""
    foldin_ratio: float = Field(0.8, gt=0, lt=1)
    """Strong split: share of a held-out user's interactions that is known at prediction time."""
    min_user_interactions: int = Field(0, ge=0)
    """k-core: users with fewer interactions are removed."""
    min_item_interactions: int = Field(0, ge=0)
    """k-core: interactions with rarer items are removed; the items stay in the catalog."""
    unknown_items: Literal["error", "drop"] = "error"
    """Treatment of interactions whose item is not in the catalog."""
    catalog_id_column: str = "item_id"
    """Column of the catalog that holds the item id."""
    title_column: str = "title"
    """Column of the catalog shown to people; the text when there is none."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns of the catalog that are embedded, joined by ``text_separator``."""
    text_separator: str = " "
    """Put between the text columns."""
    separator: Separator | None = None
    """Text files of interactions: characters between two fields; guessed when not given."""
    quoting: Quoting | None = None
    """Text files of interactions: whether fields may stand in double quotes (minimal) or not (none)."""
    encoding: str | None = None
    """Text files of interactions: their encoding, such as cp1252; guessed when not given."""
    compression: Compression | None = None
    """Files of interactions: how they are compressed, whatever their names end in."""
    column_names: tuple[str, ...] | None = None
    """Text files of interactions without a header: the names of their columns."""
    catalog_separator: Separator | None = None
    """Text files of the catalog: characters between two fields."""
    catalog_quoting: Quoting | None = None
    """Text files of the catalog: whether fields may stand in double quotes."""
    catalog_encoding: str | None = None
    """Text files of the catalog: their encoding."""
    catalog_compression: Compression | None = None
    """Files of the catalog: how they are compressed."""
    catalog_column_names: tuple[str, ...] | None = None
    """Text files of the catalog without a header: the names of their columns."""

    @model_validator(mode="after")
    def _ratios_leave_training(self) -> "IngestConfig":
        if self.split == "random" and self.valid_ratio + self.test_ratio >= 1:
            raise ConfigError(
                f"data.options.valid_ratio ({self.valid_ratio:g}) and test_ratio ({self.test_ratio:g}) hold "
                "out everything of a random split; give ratios whose sum is below 1"
            )
        return self

    def names(self) -> ColumnNames:
        """Return names for the columns of interactions that have none, in the order of these options."""
        values = tuple(name for name in (self.weight_column, self.rating_column) if name)
        further = tuple(name for name in (*values, self.timestamp_column, self.split_column) if name)
        return ColumnNames((self.user_column, self.item_column, *further), values)

    def catalog_names(self) -> ColumnNames:
        """Return names for the columns of a catalog that has none: ids and texts."""
        return ColumnNames((self.catalog_id_column, *self.text_columns))

    def text_options(self) -> TextOptions:
        """Return how text files of interactions are read."""
        return TextOptions(self.separator, self.quoting, self.encoding, self.compression, self.column_names)

    def catalog_text_options(self) -> TextOptions:
        """Return how text files of the catalog are read."""
        return TextOptions(
            self.catalog_separator,
            self.catalog_quoting,
            self.catalog_encoding,
            self.catalog_compression,
            self.catalog_column_names,
        )


class CoreConfig(Section):
    """The core of the catalog, which is solved exactly; the other items get the column of their text."""

    min_interactions: int = Field(ge=1)
    """Training interactions that an item of the core has at least."""


class WordsConfig(Section):
    """The vectorizer that makes multi-hot words of the items' texts."""

    vectorizer: Literal["count", "hashing"] = "count"
    """``count`` learns the words of the catalog, ``hashing`` needs no vocabulary (words may collide)."""
    min_df: int = Field(2, ge=1)
    """Words in fewer texts are left out (count)."""
    n_features: int = Field(2**16, ge=1)
    """Columns of the hashed words (hashing)."""
    ngram_range: tuple[int, int] = (1, 1)
    """Shortest and longest run of words that counts as one."""
