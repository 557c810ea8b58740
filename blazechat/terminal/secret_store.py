"""Stores tokens in the system's keyring, or in a file that only its owner can read."""

import contextlib
from pathlib import Path

import keyring
import keyring.errors
from keyring.backends.fail import Keyring as NoKeyring
from keyring.backends.null import Keyring as NullKeyring

from blazechat.terminal.json_files import read_file, write_file

KEYRING_SERVICE = "blazechat"


class SecretStore:
    """Stores secrets by key. The file `path` is used if the system has no keyring, or if it fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, key: str) -> str | None:
        if _has_keyring():
            with contextlib.suppress(keyring.errors.KeyringError):
                if (found := keyring.get_password(KEYRING_SERVICE, key)) is not None:
                    return found
        return self._all().get(key)

    def write(self, key: str, secret: str) -> None:
        if _has_keyring():
            try:
                keyring.set_password(KEYRING_SERVICE, key, secret)
            except keyring.errors.KeyringError:
                pass
            else:
                self._remove_from_file(key)
                return
        write_file(self._path, self._all() | {key: secret})

    def remove(self, key: str) -> None:
        if _has_keyring():
            with contextlib.suppress(keyring.errors.KeyringError):
                keyring.delete_password(KEYRING_SERVICE, key)
        self._remove_from_file(key)

    def _all(self) -> dict[str, str]:
        return read_file(self._path, dict[str, str]) or {}

    def _remove_from_file(self, key: str) -> None:
        secrets = self._all()
        if secrets.pop(key, None) is not None:
            write_file(self._path, secrets)


def _has_keyring() -> bool:
    return not isinstance(keyring.get_keyring(), NoKeyring | NullKeyring)
