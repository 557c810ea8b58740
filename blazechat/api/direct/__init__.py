"""Direct calls: the most frequent requests, answered without FastAPI (docs/decisions/0012)."""
