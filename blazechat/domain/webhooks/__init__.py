"""Outgoing webhooks: registration, transactional outbox, delivery queue and delivery log."""
