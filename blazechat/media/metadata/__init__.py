"""Finds and removes metadata in files, one module per format."""
