"""The base classes of the sections of a configuration, and the types of number that they share."""

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias, get_args

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from l3ae_dist.units import parse_bytes

ByteSize = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]}),
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

SectionValues: TypeAlias = Mapping[str, object]
"""Values of one section, as users write them."""


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, numbers no switches."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_switches(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false for a number: Python would count them as 1 and 0."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and bool not in kinds and _holds_switch(value):
            several = isinstance(value, list | tuple)
            raise PydanticCustomError("number", f"Input should be {'numbers' if several else 'a number'}")
        return value


class TextSection(Section):
    """Base of the sections whose texts may look like numbers in YAML, such as ``workspace: 2024``."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


def _kinds(annotation: object) -> Iterator[object]:
    """Yield the types that an annotation is made of, at any depth."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _holds_switch(value: object) -> bool:
    """Tell whether a value is true or false, or a list with one of these."""
    if isinstance(value, list | tuple):
        return any(map(_holds_switch, value))
    return isinstance(value, bool | np.bool_)
