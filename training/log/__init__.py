"""The log on disk: exported from the store or replayed from a table, read back as logged rounds."""
