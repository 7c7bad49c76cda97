"""Sections on the data: columns, filters and split of the interactions, and words of the items' texts."""

from typing import Literal

from pydantic import Field

from l3ae_dist.config.section import Section


class IngestConfig(Section):
    """Column names, filters and the split of an interaction log; everything has a default."""

    user_column: str = "user_id"
    """Column of the interactions that holds the user id."""
    item_column: str = "item_id"
    """Column of the interactions that holds the item id."""
    id_type: Literal["auto", "string"] = "auto"
    """Ids as the table types them (in CSV what looks like numbers is numbers), or always as text."""
    weight_column: str | None = None
    """Column of positive interaction weights; binary when not given."""
    timestamp_column: str | None = None
    """Column that orders a user's interactions; needed by the leave_last_out split."""
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

    def text_ids(self, *columns: str) -> tuple[str, ...]:
        """Return those of the id columns that are read as text."""
        return columns if self.id_type == "string" else ()


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
