"""Model servers: one port, one adapter, and an in-memory twin."""
