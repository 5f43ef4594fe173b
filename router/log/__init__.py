"""The log: decisions, answers and feedback on their way to the store, never lost, never waited for.

`event_log` is what the service writes to; `store` the port to where events end up, with one
adapter a file; `spool` the disk that holds them while the store is away.
"""
