"""The key that signs access tokens: the configured one, or a random one in the data folder."""

import secrets
from pathlib import Path

from blazechat.config import Settings, SettingsError
from blazechat.setting_types import MIN_KEY_BYTES


def secret_key_of(settings: Settings) -> str:
    """Return the configured key, or that of the data folder, which the first call creates.

    Raises SettingsError if the file of the key cannot be created or read, or has no valid key.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    path = key_file(settings)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        _create_once(path, secrets.token_hex(MIN_KEY_BYTES))
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY: {path} cannot be created ({error.strerror}). Set SECRET_KEY instead."
        ) from error
    return read_key(path)


def key_file(settings: Settings) -> Path:
    return settings.data_dir / "secret.key"


def read_key(path: Path) -> str:
    """Return the key in a file. Raises SettingsError if the file cannot be read, or is damaged."""
    try:
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY: {path} cannot be read ({error.strerror}). Set SECRET_KEY instead."
        ) from error
    except UnicodeDecodeError:
        key = ""
    if len(key) < MIN_KEY_BYTES or not key.isprintable():
        raise SettingsError(
            f"SECRET_KEY: {path} is damaged: it has no key of at least {MIN_KEY_BYTES} characters. Restore"
            " it from a backup, or set SECRET_KEY. If the key is lost, remove the file: the next start"
            " creates a new key, and access tokens of the old one become invalid."
        )
    return key


def _create_once(path: Path, text: str) -> None:
    """Create `path` (mode 0600) with `text` unless it exists. It is complete or absent, even if processes
    race."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_text(text + "\n", encoding="ascii")
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
