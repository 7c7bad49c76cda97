"""The base of all sections of a configuration, and the numbers that they share."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from l3ae_dist.units import parse_bytes

ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of the sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
