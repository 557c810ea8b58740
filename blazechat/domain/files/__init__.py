"""Uploaded files: upload, processing, and attachments of messages."""
