"""The HTTP endpoints, one file a resource; `schemas` holds what they take and give."""
