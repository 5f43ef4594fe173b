"""The service: takes queries over HTTP, decides among the arms, logs decisions and feedback."""
