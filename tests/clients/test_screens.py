"""What the screens look like, at several sizes, with names and texts that are hard to lay out."""

from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.clients import pictures
from tests.clients.screens import Terminal, named, terminal
from tests.conftest import NewServer
from tests.harness import Person

LONG_NAME = "Alexandra Wilhelmina van der Meer-Hohenzollern zu Sigmaringen"


async def _said(alice: Person, bob: Person) -> None:
    """Everything that a conversation can have in it."""
    await bob.put(f"/api/users/{bob.id}", {"display_name": LONG_NAME})
    await alice.direct(bob)
    long_name = await alice.group(bob, name="Übergrößenträger und andere lange Wörter in einem Namen")
    await bob.say(long_name, "日本語のテキスト " * 8)
    team = await alice.group(bob, name="Team")
    await alice.say(team, "Good morning!")
    await alice.say(team, "A longer message that does not fit into one line, and so has to be wrapped.")
    await bob.say(team, "emoji 👍🏽 👨‍👩‍👧‍👦 🇩🇪, wide 日本語, שלום עולם, مرحبا, combining é̂ñ")
    await bob.say(team, "\x1b[31mred\x1b[0m\a and \u202eRLO")
    await alice.say(team, "several\n  lines\n\nwith space")
    answer = await bob.say(team, "yes", reply_to=2)
    edited = await alice.say(team, "typo")
    await alice.put(f"/api/chats/{team}/messages/{edited['id']}", {"content": "no typo"})
    gone = await bob.say(team, "gone")
    await bob.delete(f"/api/chats/{team}/messages/{gone['id']}")
    await alice.put(f"/api/chats/{team}/messages/{answer['id']}/reactions/🎉")
    await bob.put(f"/api/chats/{team}/messages/{answer['id']}/reactions/👍")
    await alice.put(f"/api/chats/{team}/messages/{answer['id']}/pin")
    await bob.put(f"/api/chats/{team}/messages/read")


def _lines_fit(shown: Terminal) -> None:
    """No line is wider than the screen, whatever is in it."""
    width = shown.app.size.width
    for strip in shown.app.screen._compositor.render_strips():
        assert cell_len(strip.text) == width, strip.text


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 50), (250, 60)], ids=lambda size: str(size[0]))
async def test_conversation(new_server: NewServer, tmp_path: Path, size: tuple[int, int]) -> None:
    """A chat with everything in it, and the list beside it."""
    live = await new_server()
    alice, bob = await named(live, "alice", "bob")
    await _said(alice, bob)
    async with terminal(tmp_path, alice, size=size) as shown:
        await shown.open("team")
        await shown.press("ctrl+end")
        await shown.sees("Team  2 members", "message deleted")
        await shown.pilot.pause(0.2)
        _lines_fit(shown)
        pictures.same_as(f"conversation_{size[0]}", shown.picture)


async def test_resizing_keeps_the_place(new_server: NewServer, tmp_path: Path) -> None:
    """At the end it stays at the end; further up, the message at the top stays at the top."""
    live = await new_server()
    alice, bob = await named(live, "alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(60):
        await alice.say(chat_id, f"number {number} " + "word " * number)
    async with terminal(tmp_path, alice, size=(200, 50)) as shown:
        await shown.sees("number 59")
        for size in ((60, 20), (120, 30), (250, 60), (80, 24)):
            await shown.pilot.resize_terminal(*size)
            await shown.pilot.pause(0.1)
            _lines_fit(shown)
            last = shown.screen.message_list
            assert last.scroll_offset.y == last.max_scroll_y
        await shown.press("pageup", "pageup", "pageup")
        await shown.pilot.pause()
        conversation = shown.screen.message_list
        anchor = conversation._anchor()
        assert anchor is not None
        for size in ((60, 20), (120, 30), (80, 24)):
            await shown.pilot.resize_terminal(*size)
            await shown.pilot.pause(0.1)
            now = conversation._anchor()
            assert now is not None
            assert abs(now.message_id - anchor.message_id) <= 1


async def test_empty_and_first_screens(new_server: NewServer, tmp_path: Path) -> None:
    """Logging in, nothing there yet, help, a list, a question."""
    live = await new_server()
    alice, bob = await named(live, "alice", "bob")
    async with terminal(tmp_path / "nobody", url=live.url) as shown:
        await shown.sees("Password")
        pictures.same_as("login", shown.picture)
        await shown.press("ctrl+n")
        await shown.sees("Create account")
        pictures.same_as("register", shown.picture)
    async with terminal(tmp_path / "alice", alice) as shown:
        await shown.sees("Start with /dm")
        pictures.same_as("empty", shown.picture)
        await shown.press("f1")
        await shown.sees("Alt+Enter, Ctrl+J")
        pictures.same_as("help", shown.picture)
        await shown.press("escape")
        await shown.say(f"/group Team @{bob.username}")
        await shown.sees("Team  2 members")
        await shown.say("/leave")
        await shown.sees("Leave Team?")
        pictures.same_as("question", shown.picture)
        await shown.press("n")


@pytest.mark.parametrize("theme", ["light", "dark", "ansi-dark", "nord"])
async def test_colours_can_be_read(new_server: NewServer, tmp_path: Path, theme: str) -> None:
    """Whatever the theme, letters differ from what they stand on; and the choice is remembered."""
    live = await new_server()
    alice, bob = await named(live, "alice", "bob")
    await _said(alice, bob)
    async with terminal(tmp_path, alice) as shown:
        await shown.open("team")
        await shown.say(f"/theme {theme}")
        await shown.pilot.pause(0.3)
        for strip in shown.app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if segment.text.strip() and style and style.color and not style.color.is_default:
                    assert style.color != style.bgcolor, segment
        chosen = shown.app.theme
    async with terminal(tmp_path, alice) as shown:
        assert shown.app.theme == chosen
