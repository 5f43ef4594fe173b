"""Tests with a real language model on a real server."""
