"""Stores the accounts that are logged in on this machine: their tokens, preferences and folders.

Tokens are stored in the system's keyring or in `secrets.json` (secret_store.py). Everything that is not
secret is stored in plain files in the same folder: `accounts.json`, `settings.json`, and one folder per
account.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import filelock
import msgspec
import platformdirs
from msgspec import Struct

from blazechat.client import InvalidServerUrl, Login, server_url
from blazechat.terminal.json_files import read_file, write_file
from blazechat.terminal.secret_store import SecretStore

APP_NAME = "blazechat"
"""Names the folder of the files in the system's state folder."""
DEVICE_NAME = "BlazeChat for the terminal"
"""The name of this device in the user's list of sessions."""
FOLDER_VARIABLE = "BLAZECHAT_CLIENT_DIR"
"""Environment variable with the folder for all files. Without it they are in the system's state folder."""
LOCK_TIMEOUT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.05


class SavedAccount(Struct, frozen=True):
    """A user of a server. `used_at` is when the account was last opened, in Unix seconds."""

    url: str
    username: str
    user_id: int
    used_at: float = 0.0

    @property
    def name(self) -> str:
        """Return, for example, `alice@chat.example.com`."""
        return f"{self.username}@{self.url.partition('://')[2]}"

    def matches(self, name: str) -> bool:
        """Return True if `name` is the account's name, its user name or its server's URL, in any case."""
        return name.casefold() in (self.name.casefold(), self.username.casefold(), self.url.casefold())


class Preferences(Struct, frozen=True):
    """Preferences of the app, for all accounts.

    `theme` is the name of a Textual theme. `notify` is True if mentions and direct messages notify the
    user. `width` is the maximum width of text, in columns.
    """

    theme: str = "textual-dark"
    notify: bool = True
    width: int = 100


class SavedAccounts:
    """The saved accounts in `folder`; None for the folder in `FOLDER_VARIABLE`, or the system's one."""

    def __init__(self, folder: Path | None = None) -> None:
        from_variable = os.environ.get(FOLDER_VARIABLE)
        self.folder = folder or (
            Path(from_variable) if from_variable else platformdirs.user_state_path(APP_NAME)
        )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def all(self) -> list[SavedAccount]:
        """Return the accounts with a valid server URL, the most recently used first."""
        saved = read_file(self.folder / "accounts.json", list[SavedAccount]) or []
        valid = [account for account in saved if _is_server_url(account.url)]
        return sorted(valid, key=lambda account: account.used_at, reverse=True)

    def find(self, name: str | None = None, url: str | None = None) -> SavedAccount | None:
        """Return the most recently used account with this name and this URL, or None.

        `SavedAccount.matches` compares names. Without a name or a URL, any one matches.
        """
        for account in self.all():
            if (name is None or account.matches(name)) and (url is None or account.url == url):
                return account
        return None

    def save_login(self, login: Login) -> SavedAccount:
        """Add or update the account of a login, and mark it as the most recently used one."""
        account = SavedAccount(login.url, login.username, login.user_id, time.time())
        with self._locked():
            write_file(self.folder / "accounts.json", [account, *self._others(account)])
        return account

    def remove(self, account: SavedAccount) -> None:
        """Remove the account from the list. Its folder and its tokens stay."""
        with self._locked():
            write_file(self.folder / "accounts.json", self._others(account))

    def folder_of(self, account: SavedAccount) -> Path:
        """Create and return the account's folder, which has its drafts and its outbox."""
        name = hashlib.sha256(_key(account).encode()).hexdigest()[:16]
        folder = self.folder / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def preferences(self) -> Preferences:
        """Return the saved preferences, or the defaults."""
        return read_file(self.folder / "settings.json", Preferences) or Preferences()

    def save_preferences(self, preferences: Preferences) -> None:
        """Save the preferences. Raises OSError."""
        write_file(self.folder / "settings.json", preferences)

    def vault(self, url: str, account: SavedAccount | None = None) -> "AccountVault":
        """Return the vault of an account; without one, of the account that logs in with it."""
        return AccountVault(self, url, account)

    def _others(self, account: SavedAccount) -> list[SavedAccount]:
        return [other for other in self.all() if _key(other) != _key(account)]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with filelock.FileLock(self.folder / "accounts.lock", timeout=LOCK_TIMEOUT_SECONDS):
            yield


class AccountVault:
    """Stores the login of one account; implements `blazechat.client.Vault`.

    `account` is None until a login is saved, if the vault was created without an account.
    """

    def __init__(self, accounts: SavedAccounts, url: str, account: SavedAccount | None) -> None:
        self.account = account
        self._accounts = accounts
        self._url = url
        self._secrets = SecretStore(accounts.folder / "secrets.json")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold the lock file that all programs on this machine use while they renew tokens.

        A refresh token is valid once, so two programs must not renew the same login at the same time.
        """
        lock = filelock.FileLock(self._accounts.folder / "login.lock", thread_local=False)
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                lock.acquire(blocking=False)
                break
            except filelock.Timeout:
                if time.monotonic() > deadline:
                    break  # the lock's holder is suspended; to continue is better than to hang
                await asyncio.sleep(LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            lock.release()

    async def load(self) -> Login | None:
        """Return the saved login; None if there is none or it cannot be decoded."""
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
        """Save the login and its account; None removes both."""
        if login is None:
            if self.account is not None:
                await asyncio.to_thread(self._secrets.remove, _key(self.account))
                self._accounts.remove(self.account)
            return
        self.account = self._accounts.save_login(login)
        await asyncio.to_thread(
            self._secrets.write, _key(self.account), msgspec.json.encode(login).decode()
        )


def _is_server_url(url: str) -> bool:
    try:
        return server_url(url) == url
    except InvalidServerUrl:
        return False


def _key(account: SavedAccount) -> str:
    return f"{account.username.casefold()}@{account.url}"
