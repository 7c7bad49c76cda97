"""Former names of the blocks of B, until their callers have moved on."""

from l3ae_dist.graphs.terms import terms_of_part as restricted
from l3ae_dist.graphs.weight_blocks import AddedTerm

__all__ = ["AddedTerm", "restricted"]
