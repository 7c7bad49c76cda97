"""Embeddings of items: made from their texts by Ray actors, imported, transformed."""
