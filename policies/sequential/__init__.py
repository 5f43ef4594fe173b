"""Tests and bounds that may be looked at after every observation."""
