"""Uploaded files: where they lie, and what they are."""
