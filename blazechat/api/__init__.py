"""The HTTP API: one router per resource. A route parses its input, makes one domain call, returns the
result."""
