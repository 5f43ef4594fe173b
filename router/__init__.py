"""The service: takes a query over HTTP, decides among the arms, logs the decision and the feedback."""
