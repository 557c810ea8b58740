"""Backups: a folder with a dump of the database, the files and the secret key, written and restored."""
