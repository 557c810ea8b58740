"""Chats, their members, and what changed in a chat since a version."""
