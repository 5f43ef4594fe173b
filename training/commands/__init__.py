"""One file per subcommand of `rag-policy`: options in, the answer printed."""
