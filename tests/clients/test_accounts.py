"""The accounts stored on a machine: where, with which permissions, and shared by several programs."""

import asyncio
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest
from keyring.backends.fail import Keyring as NoKeyring

from blazechat.client import Client, Login, SessionEnded
from blazechat.terminal.accounts import Preferences, SavedAccounts
from blazechat.terminal.drafts import Drafts
from tests.harness import PASSWORD, Live

URL = "http://127.0.0.1:8000"


class InMemory(keyring.backend.KeyringBackend):
    """A keyring like a desktop's, which can be locked."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError

    def _check(self) -> None:
        if self.locked:
            raise keyring.errors.KeyringLocked


@pytest.fixture
def ring() -> Iterator[InMemory]:
    before = keyring.get_keyring()
    made = InMemory()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def no_ring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


def _login(username: str = "alice") -> Login:
    return Login(URL, 1, username, "access", "refresh", time.time())


@pytest.mark.usefixtures("no_ring")
async def test_without_a_keyring_only_the_owner_can_read(tmp_path: Path) -> None:
    """Every file and folder is private, and only one file contains tokens."""
    accounts = SavedAccounts(tmp_path / "deep" / "state")
    await accounts.vault(URL).save(_login())
    account = accounts.find()
    assert account is not None
    accounts.folder_of(account)
    for path in (tmp_path / "deep" / "state").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0 or path.suffix == ".lock", (path, oct(mode))
        if path.is_file() and path.name != "secrets.json":
            assert "refresh" not in path.read_text()
    loaded = await accounts.vault(URL, account).load()
    assert loaded is not None
    assert loaded.refresh_token == "refresh"


async def test_with_a_keyring_no_file_has_tokens(tmp_path: Path, ring: InMemory) -> None:
    """They move from an existing file into the keyring, and are deleted with the account."""
    accounts = SavedAccounts(tmp_path)
    ring.locked = True
    vault = accounts.vault(URL)
    await vault.save(_login())
    assert "refresh" in (tmp_path / "secrets.json").read_text()
    ring.locked = False
    await vault.save(_login())
    assert ring.kept
    assert "refresh" not in (tmp_path / "secrets.json").read_text()
    await vault.save(None)
    assert not ring.kept
    assert accounts.all() == []


@pytest.mark.usefixtures("no_ring")
async def test_several_accounts(tmp_path: Path) -> None:
    """They are found by name or server, the last used first, and each has its own folder."""
    accounts = SavedAccounts(tmp_path)
    for username in ("alice", "bob"):
        await accounts.vault(URL).save(_login(username))
    assert [account.username for account in accounts.all()] == ["bob", "alice"]
    alice = accounts.find("Alice@127.0.0.1:8000")
    assert alice is not None
    assert accounts.find("alice") == alice
    assert accounts.find("carol") is None
    bob = accounts.find(url=URL)
    assert bob is not None
    assert accounts.folder_of(alice) != accounts.folder_of(bob)
    await accounts.vault(URL, alice).save(_login("alice"))
    assert [account.username for account in accounts.all()] == ["alice", "bob"]


@pytest.mark.usefixtures("no_ring")
async def test_damaged_files_are_ignored(tmp_path: Path) -> None:
    """The program starts, and replaces them."""
    accounts = SavedAccounts(tmp_path)
    for name in ("accounts.json", "settings.json", "secrets.json", "drafts.json"):
        (tmp_path / name).write_text('{"half')
    assert accounts.all() == []
    assert accounts.preferences() == Preferences()
    drafts = Drafts(tmp_path / "drafts.json")
    drafts.set(5, "text")
    drafts.save()
    assert json.loads((tmp_path / "drafts.json").read_text()) == {"5": "text"}
    await accounts.vault(URL).save(_login())
    assert len(accounts.all()) == 1


@pytest.mark.usefixtures("no_ring")
async def test_programs_that_share_a_login_renew_in_turn(live: Live, tmp_path: Path) -> None:
    """A refresh token is valid once; eight clients at the same time keep their session."""
    alice = await live.person("alice")
    accounts = SavedAccounts(tmp_path)
    async with Client(live.url, vault=accounts.vault(live.url)) as first:
        login = await first.log_in(alice.username, PASSWORD)
    stale = Login(live.url, login.user_id, login.username, "rejected", login.refresh_token, 0.0)
    account = accounts.find(alice.username)
    await accounts.vault(live.url, account).save(stale)
    clients = [Client(live.url, vault=SavedAccounts(tmp_path).vault(live.url, account)) for _ in range(8)]
    for client in clients:
        await client.restore_login()
    loaded = await asyncio.gather(*(client.account.get() for client in clients))
    assert {account.username for account in loaded} == {alice.username}
    await clients[0].log_out()
    with pytest.raises(SessionEnded):
        await clients[1].account.get()
    for client in clients:
        await client.close()
