"""Implementations of the app's slash commands."""
