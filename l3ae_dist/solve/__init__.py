"""From Gram matrices to certified inverses and the heads of the family."""
