"""Item text to embeddings, by Ray actors."""
