"""The base classes of the sections of a configuration, and the types of number that they share."""

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from l3ae_dist.units import parse_bytes

ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

SectionValues: TypeAlias = Mapping[str, object]
"""Values of one section, as users write them."""


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TextSection(Section):
    """Base of the sections whose texts may look like numbers in YAML, such as ``workspace: 2024``."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
