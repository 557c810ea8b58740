"""Outgoing webhooks: registration, the transactional outbox, and its delivery queue."""
