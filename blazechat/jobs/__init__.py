"""What the server does outside a request: calls to other servers, one after another."""
