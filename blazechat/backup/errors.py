"""The error of a backup or a restore that cannot be done."""


class BackupError(Exception):
    """A backup or a restore failed. The message says why, what is left of it, and what to do."""
