"""Retrieval: collections that are indexed, searched and never lost. Knows nothing of rewriting."""
