"""Uploaded files without the database: their storage, media types, metadata, and the worker processes."""
