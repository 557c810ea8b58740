"""`blazechat new`, `dm`, `members` and `tail`: what they print, and that a script can repeat them."""

import asyncio
import contextlib
import io
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from blazechat.cli import app
from blazechat.terminal.cli.errors import CommandError
from blazechat.terminal.cli.usage_errors import run_app
from tests.clients.test_scripting import Result, blazechat, log_in
from tests.harness import Live, Person

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def alice(live: Live, tmp_path: Path) -> Person:
    """A user who is logged in on this machine."""
    person = await live.person("alice")
    await log_in(tmp_path, live, person.username)
    return person


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in a thread of this process, which takes a fraction of the time of a process."""
    monkeypatch.setenv("BLAZECHAT_CLIENT_DIR", str(tmp_path))

    def run(arguments: tuple[str, ...]) -> Result:
        monkeypatch.setattr("sys.argv", ["blazechat", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run_app(app)
            except CommandError as error:
                return Result(error.exit_code, out.getvalue(), f"{err.getvalue()}{error}")
            except SystemExit as end:
                return Result(int(end.code or 0), out.getvalue(), err.getvalue())
        raise AssertionError("a command ends with SystemExit")

    async def start(*arguments: str) -> Result:
        return await asyncio.to_thread(run, arguments)

    return start


async def test_new_creates_a_group_once(live: Live, alice: Person, command: Command) -> None:
    """It prints the id. Repeated, it prints the same id; with other users, it fails and says what to do."""
    bob, carol = await live.people("bob", "carol")
    made = await command("new", "Team", f"@{bob.username}", alice.username)
    assert (made.code, made.err) == (0, "")
    chat = (await alice.get(f"/api/chats/{int(made.out)}")).json()
    assert (chat["name"], chat["is_group_chat"], chat["history"]) == ("Team", True, "all")
    assert [user["username"] for user in chat["users"]] == [alice.username, bob.username]
    again = await command("new", "team", bob.username)
    assert (again.code, again.out, again.err) == (0, made.out, "You own this group already: team.\n")
    other = await command("new", "Team", f"@{carol.username}")
    assert (other.code, other.out) == (1, "")
    assert f"blazechat members {chat['id']} --add @{carol.username}\n" in other.err
    assert other.err.endswith("create another group of this name with --duplicate.")
    second = await command("new", "Team", "--duplicate", "--history", "joined", "--json")
    assert json.loads(second.out)["id"] != chat["id"]
    assert json.loads(second.out)["history"] == "joined"
    await bob.group(alice, name="Bob's")
    assert (await command("new", "Bob's")).err == ""  # it is not this user's
    unknown = await command("new", "Others", "@nobody", bob.username, "nothing")
    assert (unknown.code, unknown.err) == (5, "there is no user @nobody and no user @nothing.")
    assert "Others" not in (await command("chats")).out
    for name in (" ", f"@{bob.username}"):
        nameless = await command("new", name)
        assert (nameless.code, nameless.out) == (2, "")
        assert nameless.err.startswith("the first argument is the name of the group")


async def test_dm_opens_the_direct_chat(live: Live, alice: Person, command: Command) -> None:
    """It prints its id, however often; a text is sent, once per idempotency key."""
    bob = await live.person("bob")
    opened = await command("dm", f"@{bob.username}")
    assert (opened.code, opened.err) == (0, "")
    chat_id = int(opened.out)
    assert (await command("dm", bob.username.upper())).out == opened.out
    assert json.loads((await command("dm", bob.username, "--json")).out)["is_group_chat"] is False
    for _ in range(2):
        sent = await command("dm", bob.username, "Hello,", "Bob!", "--client-id", "greeting")
        assert (sent.code, sent.out) == (0, opened.out)
    message = json.loads((await command("dm", bob.username, "Again", "--json")).out)
    assert (message["chat_id"], message["id"], message["content"]) == (chat_id, 2, "Again")
    assert [message["content"] for message in await bob.history(chat_id)] == ["Again", "Hello, Bob!"]
    unknown = await command("dm", "@nobody", "Hello")
    assert (unknown.code, unknown.out, unknown.err) == (5, "", "there is no user @nobody.")
    oneself = await command("dm", alice.username)
    assert (oneself.code, oneself.out) == (1, "")
    assert oneself.err.startswith("this is your own account.")
    blank = await command("dm", bob.username, "")
    assert (blank.code, blank.err.strip()) == (1, "A message cannot be blank.")


async def test_members_are_listed_added_and_removed(live: Live, alice: Person, command: Command) -> None:
    """With role and status. To add a member again, or to remove a user who is none, is no error."""
    bob, carol = await live.people("bob", "carol")
    chat_id = await alice.group(bob, name="Crew")
    async with bob.online():
        listed = await command("members", "Crew")
    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert (rows[0][:2], rows[1]) == (
        [f"@{alice.username}", "owner"],
        [f"@{bob.username}", "member", "online"],
    )
    for _ in range(2):
        added = await command("members", "Crew", "--add", f"@{carol.username}", "--add", bob.username)
        assert (added.code, len(added.out.splitlines())) == (0, 3)
    for _ in range(2):
        removed = await command("members", str(chat_id), "--remove", carol.username, "--json")
        names = [json.loads(line)["username"] for line in removed.out.splitlines()]
        assert (removed.code, names) == (0, [alice.username, bob.username])
    both = await command("members", "Crew", "--add", carol.username, "--remove", carol.username)
    assert (both.code, both.err) == (2, f"@{carol.username} is both to be added and to be removed.")
    left = await command("members", "Crew", "--remove", alice.username, "--remove", bob.username)
    assert (left.code, left.out) == (0, "")
    gone = await command("members", str(chat_id))
    assert gone.code == 5
    assert (await command("members", "Crew")).err.startswith("there is no chat 'Crew'.")
    direct_id = await alice.direct(bob)
    fixed = await command("members", str(direct_id), "--add", carol.username)
    assert (fixed.code, fixed.out) == (1, "")
    unknown = await command("members", str(direct_id), "--remove", "@nobody")
    assert (unknown.code, unknown.err) == (5, "there is no user @nobody.")


async def test_tail_names_webhooks_as_they_name_themselves(
    live: Live, alice: Person, command: Command
) -> None:
    """With a mark, so that none passes as a person. Its name outlives it. JSON is as the API has it."""
    chat_id = await alice.group(name="Alerts")
    await alice.put(f"/api/users/{alice.id}", {"display_name": "Alice Liddell"})
    webhook = (await alice.post(f"/api/chats/{chat_id}/incoming-webhooks", {"name": "Grafana"})).json()
    path = webhook["url"].removeprefix(live.url)
    for payload in ({"text": "disk full"}, {"text": "build 7", "username": alice.username}):
        answer = await live.client().post(path, json=payload)
        assert answer.status_code == 200, answer.text
    await alice.say(chat_id, "I see")
    lines = ["Grafana [bot]: disk full", f"{alice.username} [bot]: build 7", f"{alice.username}: I see"]

    async def printed(*options: str) -> list[str]:
        return (await command("tail", str(chat_id), *options)).out.splitlines()

    assert [line.split(" ", 2)[2] for line in await printed()] == lines
    found = [json.loads(line) for line in await printed("--json")]
    assert [message["user"]["display_name"] for message in found] == [
        *("Grafana", alice.username, "Alice Liddell")
    ]
    for message in found:
        if message["user"]["icon_url"] is None:  # which the API has for webhooks only
            del message["user"]["icon_url"]
    history = await alice.history(chat_id)
    for message in history:
        message["user"] = {name: value for name, value in message["user"].items() if value is not None}
    assert found[::-1] == history
    deleted = await alice.delete(f"/api/chats/{chat_id}/incoming-webhooks/{webhook['id']}")
    assert deleted.status_code == 204, deleted.text
    assert [line.split(" ", 2)[2] for line in await printed()] == lines


async def test_new_commands_run_as_processes(live: Live, alice: Person, tmp_path: Path) -> None:
    """As a script runs them, with an account and an exit code."""
    bob = await live.person("bob")
    await log_in(tmp_path, live, bob.username)
    made = await blazechat(tmp_path, "new", "Builds", bob.username, "--as", alice.username)
    assert made.code == 0, made
    listed = await blazechat(tmp_path, "members", "Builds", "--as", bob.username)
    assert [line.split("\t")[:2] for line in listed.out.splitlines()] == [
        [f"@{alice.username}", "owner"],
        [f"@{bob.username}", "member"],
    ]
    denied = await blazechat(
        tmp_path, "members", "Builds", "--as", bob.username, "--remove", alice.username
    )
    assert (denied.code, denied.out, denied.err[:11]) == (1, "", "blazechat: ")
