"""The watch over a candidate in shadow or canary."""
