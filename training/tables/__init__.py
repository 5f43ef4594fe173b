"""Recorded outcomes and queries: files that users bring, read strictly."""
