"""The HTTP API: one router per resource. A route parses input, makes one domain call, shapes the result."""
