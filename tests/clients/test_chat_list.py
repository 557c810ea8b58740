"""The list of chats and the title: mentions, drafts, and bots that are not counted as people."""

import re
from itertools import pairwise
from pathlib import Path

from blazechat.client import Client
from tests.clients.screens import Terminal, terminal
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually


def row(ui: Terminal, name: str) -> str:
    """The second line of a chat in the list: its last message and its badges; empty if it is not listed."""
    width = ui.screen.chat_list.size.width
    lines = [line[:width].rstrip() for line in ui.lines]
    return next((below for line, below in pairwise(lines) if f"# {name}" in line), "")


async def row_is(ui: Terminal, name: str, pattern: str) -> None:
    async def matches() -> bool:
        await ui.pilot.pause()
        return re.search(pattern, row(ui, name)) is not None

    try:
        await eventually(matches)
    except TimeoutError:
        raise AssertionError(f"{row(ui, name)!r} is not {pattern!r}\n{ui.text}") from None


async def test_mentions_have_a_badge_of_their_own(live: Live, tmp_path: Path) -> None:
    """Those from before the start, too; own messages, deleted ones and longer names do not count."""
    alice, bob = await live.people("alice", "bob")
    team = await bob.group(alice, name="Team")
    other = await bob.group(alice, name="Other")
    for text in ("first", f"@{alice.username} look", f"@{alice.username}x is another", "last"):
        await bob.say(team, text)
    gone = await bob.say(team, f"@{alice.username} gone")
    await bob.delete(f"/api/chats/{team}/messages/{gone['id']}")
    await bob.say(other, "opened at the start")
    async with terminal(tmp_path, alice) as ui:
        await row_is(ui, "Team", r" @1 5$")
        await bob.say(team, f"and @{alice.username.upper()}!")
        await row_is(ui, "Team", r" @2 6$")
        await bob.say(team, "no mention")
        await row_is(ui, "Team", r" @2 7$")
        await ui.open("Team")
        await ui.press("ctrl+end")
        await row_is(ui, "Team", r"no mention$")


async def test_drafts_are_marked_in_the_list(live: Live, tmp_path: Path) -> None:
    """In place of the last message, while another chat is open, and after a restart."""
    alice = await live.person("alice")
    team = await alice.group(name="Team")
    await alice.say(team, "the last message")
    await alice.group(name="Other")
    async with terminal(tmp_path, alice) as ui:
        await ui.open("Team")
        await ui.type("half a")
        await row_is(ui, "Team", r"You: the last")
        await ui.open("Other")
        await row_is(ui, "Team", r"Draft: half a$")
    async with terminal(tmp_path, alice) as ui:
        await ui.open("Other")
        await row_is(ui, "Team", r"Draft: half a$")
        await ui.open("Team")
        await row_is(ui, "Team", r"You: the last")


async def test_bots_do_not_count_as_people(new_server: NewServer, tmp_path: Path) -> None:
    """In the title, in /members and in labels, with more members than an overview has."""
    live = await new_server()
    people = await live.people(*(f"person{number}x" for number in range(10)))
    alice = people[0]
    bot = (await alice.post("/api/bots", {"username": "helper", "display_name": "Helper"})).json()
    team = await alice.group(*people[1:], name="Team")
    await alice.post(f"/api/chats/{team}/members", {"user_ids": [bot["id"]]})
    await alice.post(f"/api/chats/{team}/incoming-webhooks", {"name": "Builds"})
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Team  10 members, 2 bots")
        await ui.enter("/members")
        await ui.sees("10 members, 2 bots in Team")
        listed = [line for line in ui.lines if "offline" in line or "online" in line]
        assert [" bot " in line for line in listed if "@" in line][-2:] == [True, True], listed
        await ui.press("escape")
        async with Client(live.url) as client:
            await client.log_in(alice.username, PASSWORD)
            await client.chats.remove_member(team, bot["id"])
            await ui.sees("Team  10 members, 1 bot")
            await client.chats.remove_member(team, people[1].id)
            await ui.sees("Team  9 members, 1 bot")
        unnamed = (
            await alice.post("/api/chats", {"is_group_chat": True, "user_ids": [people[2].id, bot["id"]]})
        ).json()
        await ui.sees(f"# {people[2].username} ")
        assert unnamed["member_count"] == 3
