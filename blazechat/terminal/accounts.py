"""The accounts that one is logged in with on this machine, and where what belongs to them is kept.

Tokens are in the system's keyring; where there is none, in a file that only its owner can read. What is not
secret is in plain files beside it: `accounts.json`, `settings.json`, and a folder an account.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import filelock
import keyring
import keyring.errors
import msgspec
import platformdirs
from keyring.backends.fail import Keyring as NoKeyring
from keyring.backends.null import Keyring as NullKeyring
from msgspec import Struct

from blazechat.client import Login, InvalidServerUrl, server_url

T = TypeVar("T")

APP_NAME = "blazechat"
DEVICE_NAME = "BlazeChat for the terminal"
"""How a log-in from here is shown among one's sessions."""
FOLDER_VARIABLE = "BLAZECHAT_CLIENT_DIR"
"""The environment variable that names another folder than the system's for such things."""
LOCK_TIMEOUT_SECONDS = 30.0


class SavedAccount(Struct, frozen=True):
    """Somebody on some server, as remembered. `used_at` is in Unix seconds."""

    url: str
    username: str
    user_id: int
    used_at: float = 0.0

    @property
    def name(self) -> str:
        """`alice@chat.example.com`, as people name it."""
        return f"{self.username}@{self.url.partition('://')[2]}"

    def matches(self, name: str) -> bool:
        return name.casefold() in (self.name.casefold(), self.username.casefold(), self.url.casefold())


class Preferences(Struct, frozen=True):
    """How somebody likes it. `theme` is one of Textual's, `notify` whether they are called."""

    theme: str = "textual-dark"
    notify: bool = True


class Accounts:
    """`folder` is where all is kept; None for the system's place for that."""

    def __init__(self, folder: Path | None = None) -> None:
        named = os.environ.get(FOLDER_VARIABLE)
        self.folder = folder or (Path(named) if named else platformdirs.user_state_path(APP_NAME))
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def all(self) -> list[SavedAccount]:
        """The last used first."""
        kept = read_file(self.folder / "accounts.json", list[SavedAccount]) or []
        found = [account for account in kept if _is_server_url(account.url)]
        return sorted(found, key=lambda account: account.used_at, reverse=True)

    def find(self, name: str | None = None, url: str | None = None) -> SavedAccount | None:
        """The account of that name (`alice@chat.example.com`, or a part of it), the last used first."""
        for account in self.all():
            if (name is None or account.matches(name)) and (url is None or account.url == url):
                return account
        return None

    def save_login(self, login: Login) -> SavedAccount:
        """Remember that somebody is logged in, and uses it now."""
        account = SavedAccount(login.url, login.username, login.user_id, time.time())
        with self._locked():
            others = [each for each in self.all() if _key(each) != _key(account)]
            write_file(self.folder / "accounts.json", [account, *others])
        return account

    def remove(self, account: SavedAccount) -> None:
        with self._locked():
            others = [each for each in self.all() if _key(each) != _key(account)]
            write_file(self.folder / "accounts.json", others)

    def folder_of(self, account: SavedAccount) -> Path:
        """The folder of what belongs to an account: drafts, and what is not sent yet."""
        name = hashlib.sha256(_key(account).encode()).hexdigest()[:16]
        folder = self.folder / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def preferences(self) -> Preferences:
        return read_file(self.folder / "settings.json", Preferences) or Preferences()

    def save_preferences(self, settings: Preferences) -> None:
        write_file(self.folder / "settings.json", settings)

    def vault(self, url: str, account: SavedAccount | None = None) -> "AccountVault":
        """Where the log-in of an account is kept; without one, that of whoever logs in."""
        return AccountVault(self, url, account)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with filelock.FileLock(self.folder / "accounts.lock", timeout=LOCK_TIMEOUT_SECONDS):
            yield


class AccountVault:
    """The vault of one account (`blazechat.client.Vault`)."""

    def __init__(self, accounts: Accounts, url: str, account: SavedAccount | None) -> None:
        self.account = account
        self._accounts = accounts
        self._url = url
        self._secrets = SecretStore(accounts.folder / "secrets.json")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        lock = filelock.FileLock(self._accounts.folder / "login.lock", thread_local=False)
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                lock.acquire(blocking=False)
                break
            except filelock.Timeout:
                if time.monotonic() > deadline:
                    break  # whoever holds it so long has been stopped; to go on is better than to hang
                await asyncio.sleep(0.05)
        try:
            yield
        finally:
            lock.release()

    async def load(self) -> Login | None:
        if self.account is None:
            return None
        text = await asyncio.to_thread(self._secrets.read, _key(self.account))
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=Login)
        except msgspec.MsgspecError:
            return None

    async def save(self, login: Login | None) -> None:
        if login is None:
            if self.account is not None:
                await asyncio.to_thread(self._secrets.remove, _key(self.account))
                self._accounts.remove(self.account)
            return
        self.account = self._accounts.save_login(login)
        await asyncio.to_thread(
            self._secrets.write, _key(self.account), msgspec.json.encode(login).decode()
        )


class SecretStore:
    """The system's keyring, or a file where there is none or where it fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, key: str) -> str | None:
        if _has_keyring():
            with contextlib.suppress(keyring.errors.KeyringError):
                if (found := keyring.get_password(APP_NAME, key)) is not None:
                    return found
        return self._all().get(key)

    def write(self, key: str, secret: str) -> None:
        if _has_keyring():
            try:
                keyring.set_password(APP_NAME, key, secret)
            except keyring.errors.KeyringError:
                pass
            else:
                self._remove_from_file(key)
                return
        write_file(self._path, self._all() | {key: secret})

    def remove(self, key: str) -> None:
        if _has_keyring():
            with contextlib.suppress(keyring.errors.KeyringError):
                keyring.delete_password(APP_NAME, key)
        self._remove_from_file(key)

    def _all(self) -> dict[str, str]:
        return read_file(self._path, dict[str, str]) or {}

    def _remove_from_file(self, key: str) -> None:
        secrets = self._all()
        if secrets.pop(key, None) is not None:
            write_file(self._path, secrets)


def _is_server_url(url: str) -> bool:
    try:
        return server_url(url) == url
    except InvalidServerUrl:
        return False


def _has_keyring() -> bool:
    return not isinstance(keyring.get_keyring(), NoKeyring | NullKeyring)


def _key(account: SavedAccount) -> str:
    return f"{account.username.casefold()}@{account.url}"


def read_file(path: Path, type_: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def write_file(path: Path, value: object) -> None:
    """In one step, and for its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, msgspec.json.format(msgspec.json.encode(value)))
    finally:
        os.close(file)
    draft.replace(path)
