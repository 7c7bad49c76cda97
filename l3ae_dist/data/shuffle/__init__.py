"""The shuffle of an interaction log: parts in any order become rows and columns of a sparse matrix."""
