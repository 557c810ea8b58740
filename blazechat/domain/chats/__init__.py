"""Chats, their members, and the changes of a chat after a version."""
