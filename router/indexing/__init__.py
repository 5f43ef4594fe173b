"""Filling an index: find documents, read them, cut them into passages, write what changed."""
