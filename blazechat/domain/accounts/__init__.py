"""Accounts of people and bots: registration, login, invitations and API tokens."""
