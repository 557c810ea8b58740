"""HTTP: parse, one domain call, shape."""
