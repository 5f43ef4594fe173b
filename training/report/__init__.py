"""What an owner is told of a log: what arms are worth, and whether it can be trusted."""
