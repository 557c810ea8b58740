"""Screens of the terminal app, and what loads and updates them."""
