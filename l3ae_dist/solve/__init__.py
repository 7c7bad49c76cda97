"""From Gram matrices to certified inverses and the score terms of each member of the family."""
