"""Requests and answers of the HTTP service, with the limits of a request."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

MOST_USERS = 256
"""Users, histories or items of one request at most."""
MOST_HISTORY = 10_000
"""Items of one history, or of one list of items to allow or to block, at most."""
MOST_ITEMS = 1000
"""Items recommended to one user at most."""
MOST_ENTRIES = 200_000
"""Items and reasons of an answer at most."""
MOST_WEIGHT = 1e6
"""Weight of an item of a history at most: scores must be finite in float32."""
MOST_TEXT = 100_000
"""Characters of the text of a new item at most."""

Id = StrictInt | Annotated[StrictStr, Field(max_length=1000)]
Ids = Annotated[list[Id], Field(max_length=MOST_HISTORY)]
Weights = Annotated[
    list[Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False)]], Field(max_length=MOST_HISTORY)
]


class Asked(BaseModel):
    """Base class of requests: names that are not known are refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


class RecommendRequest(Asked):
    """Users or histories, and which items they may get."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"histories": [[1, 50, 181]], "n": 5, "reasons": 2}]},
    )

    users: list[Id] | None = Field(
        None, max_length=MOST_USERS, description="Users by id. A workspace knows them; an export does not."
    )
    histories: list[Ids] | None = Field(
        None, max_length=MOST_USERS, description="Item ids of users who need not be known."
    )
    weights: list[Weights] | None = Field(
        None, max_length=MOST_USERS, description="Of the items of each history; 1 when not given."
    )
    n: int = Field(20, ge=1, le=MOST_ITEMS, description="Items for each user.")
    exclude_seen: bool = Field(True, description="Leave out what the user has.")
    allow: Ids | None = Field(None, description="The only items that may be recommended.")
    block: Ids | None = Field(None, description="Items that may not be recommended.")
    reasons: int = Field(
        0, ge=0, le=50, description="So many items of the history that contribute most to each score."
    )
    unknown_items: Literal["refuse", "skip"] = Field(
        "refuse", description="What becomes of items of a history that the catalog does not have."
    )

    @model_validator(mode="after")
    def _users_or_histories(self) -> "RecommendRequest":
        if (self.users is None) == (self.histories is None):
            raise ValueError("give users or histories, one of the two")
        if self.weights is not None and [len(one) for one in self.weights] != [
            len(one) for one in self.histories or []
        ]:
            raise ValueError("weights must be as many as the items of each history")
        _check_entries(len(self.users or self.histories or []) * self.n * (1 + self.reasons))
        return self


def _check_entries(count: int) -> None:
    """Refuse a request whose answer would be too long."""
    if count > MOST_ENTRIES:
        raise ValueError(
            f"the answer would have up to {count:,} items and reasons, and the most is {MOST_ENTRIES:,}; ask "
            "for fewer users, items or reasons at a time"
        )


class SimilarRequest(Asked):
    """Items whose neighbours are asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [50], "n": 5}]})

    items: list[Id] = Field(min_length=1, max_length=MOST_USERS, description="Item ids.")
    n: int = Field(10, ge=1, le=MOST_ITEMS, description="Neighbours of each.")

    @model_validator(mode="after")
    def _is_bounded(self) -> "SimilarRequest":
        _check_entries(len(self.items) * self.n)
        return self


class NewItem(Asked):
    """An item that the catalog does not have, by its text."""

    item_id: Id
    text: str = Field(min_length=1, max_length=MOST_TEXT)


class ItemsRequest(Asked):
    """Items that become recommendable from their text alone."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [{"item_id": 9001, "text": "A quiet film"}]}]},
    )

    items: list[NewItem] = Field(min_length=1, max_length=MOST_USERS)


class Reason(BaseModel):
    """An item of a history and its part of a score."""

    item_id: Id
    title: str
    total: float


class Recommended(BaseModel):
    """A recommended item."""

    item_id: Id
    title: str
    score: float
    reasons: list[Reason] | None = None


class RecommendAnswer(BaseModel):
    """Lists in the order of the users or histories; a user without a history gets an empty one."""

    model: str
    results: list[list[Recommended]]


class ItemsAnswer(BaseModel):
    """The ids of the items that were added."""

    model: str
    added: list[Id]


class ModelAnswer(BaseModel):
    """The model that answers now."""

    model: str
    member: str
    params: dict[str, float | str | None]
    certificate: dict[str, float | str]
    items: int
    source: Literal["export", "workspace"]


class Refusal(BaseModel):
    """A request that is refused: the kind of the error, and one sentence with the next step."""

    error: str
    message: str
