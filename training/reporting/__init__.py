"""Who reports an outcome: the probability of being observed, which enters every weight."""
