"""Commands for scripts: log-in, send, tail, webhooks."""
