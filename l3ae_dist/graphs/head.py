"""Former names of the terms of a score, until their callers have moved on."""

from l3ae_dist.graphs.entries import row_products as product_pairs
from l3ae_dist.graphs.entries import weight_entries as head_pairs
from l3ae_dist.graphs.terms import MatrixTerm, ProductTerm
from l3ae_dist.graphs.terms import ScoreTerms as Head
from l3ae_dist.graphs.terms import TermArrays as Parts

__all__ = ["Head", "MatrixTerm", "Parts", "ProductTerm", "head_pairs", "product_pairs"]
