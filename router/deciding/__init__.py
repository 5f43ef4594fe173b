"""From requests to decisions: cases, outlooks, the draw, the record, and the budgets."""
