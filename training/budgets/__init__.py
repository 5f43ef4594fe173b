"""Finding the cost weight that keeps a budget."""
