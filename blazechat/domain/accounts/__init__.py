"""Accounts of people and bots: registration, invitations, API tokens."""
