"""Removes metadata from files in place, one module per format."""
