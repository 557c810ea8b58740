"""Integrations that post in chats: incoming webhooks, slash commands, system messages."""
