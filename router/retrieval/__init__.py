"""Looking documents up: one port, one adapter a file, and an in-memory twin."""
