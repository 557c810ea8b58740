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
    path = settings.data_dir / "secret.key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        _create_once(path, secrets.token_hex(MIN_KEY_BYTES))
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY: {path} cannot be created or read ({error.strerror}). Set SECRET_KEY instead."
        ) from error
    if len(key) < MIN_KEY_BYTES:
        raise SettingsError(f"SECRET_KEY: {path} has no valid key. Remove the file, or set SECRET_KEY.")
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
