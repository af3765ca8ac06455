"""Rewriting: from a conversation to a self-contained query, each edit with its evidence."""
