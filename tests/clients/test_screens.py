"""The screens at several sizes, with names and texts that are hard to lay out, compared with snapshots."""

from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.clients import pictures
from tests.clients.screens import Terminal, register, terminal
from tests.conftest import NewServer
from tests.harness import Person

LONG_NAME = "Alexandra Wilhelmina van der Meer-Hohenzollern zu Sigmaringen"


async def _fill_chats(alice: Person, bob: Person) -> None:
    """Create chats with every kind of message."""
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


def _assert_lines_fit(ui: Terminal) -> None:
    """Every line is exactly as wide as the screen."""
    width = ui.app.size.width
    for strip in ui.app.screen._compositor.render_strips():
        assert cell_len(strip.text) == width, strip.text


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 50), (250, 60)], ids=lambda size: str(size[0]))
async def test_conversation(new_server: NewServer, tmp_path: Path, size: tuple[int, int]) -> None:
    """A chat with every kind of message, and the list of chats."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    await _fill_chats(alice, bob)
    async with terminal(tmp_path, alice, size=size) as ui:
        await ui.open("team")
        await ui.press("ctrl+end")
        await ui.sees("Team  2 members", "message deleted")
        await ui.pilot.pause(0.2)
        _assert_lines_fit(ui)
        await pictures.assert_matches(f"conversation_{size[0]}", lambda: ui.snapshot)


async def test_resize_keeps_the_scroll_position(new_server: NewServer, tmp_path: Path) -> None:
    """A view at the end stays at the end. Elsewhere, the message at the top stays at the top."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(60):
        await alice.say(chat_id, f"number {number} " + "word " * number)
    async with terminal(tmp_path, alice, size=(200, 50)) as ui:
        await ui.sees("number 59")
        for size in ((60, 20), (120, 30), (250, 60), (80, 24)):
            await ui.pilot.resize_terminal(*size)
            await ui.pilot.pause(0.1)
            _assert_lines_fit(ui)
            message_list = ui.screen.message_list
            assert message_list.scroll_offset.y == message_list.max_scroll_y
        await ui.press("pageup", "pageup", "pageup")
        await ui.pilot.pause()
        message_list = ui.screen.message_list
        anchor = message_list._anchor()
        assert anchor is not None
        for size in ((60, 20), (120, 30), (80, 24)):
            await ui.pilot.resize_terminal(*size)
            await ui.pilot.pause(0.1)
            now = message_list._anchor()
            assert now is not None
            assert abs(now.message_id - anchor.message_id) <= 1


async def test_empty_and_first_screens(new_server: NewServer, tmp_path: Path) -> None:
    """Login, registration, the chat screen without chats, the help, a confirmation."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    async with terminal(tmp_path / "nobody", url=live.url) as ui:
        await ui.sees("Password")
        await pictures.assert_matches("login", lambda: ui.snapshot)
        await ui.press("ctrl+n")
        await ui.sees("Create account")
        await pictures.assert_matches("register", lambda: ui.snapshot)
    async with terminal(tmp_path / "alice", alice) as ui:
        await ui.sees("Welcome, alice!", "○ bob", "To invite others", "● online")
        await pictures.assert_matches("empty", lambda: ui.snapshot)
        await ui.press("f1")
        await ui.sees("Alt+Enter, Ctrl+J")
        await pictures.assert_matches("help", lambda: ui.snapshot)
        await ui.press("escape")
        await ui.enter(f"/group Team @{bob.username}")
        await ui.sees("Team  2 members", "# Team")
        await ui.enter("/leave")
        await ui.sees("Leave Team?")
        await pictures.assert_matches("question", lambda: ui.snapshot)
        await ui.press("n")


@pytest.mark.parametrize("theme", ["light", "dark", "ansi-dark", "nord"])
async def test_text_is_visible_in_every_theme(new_server: NewServer, tmp_path: Path, theme: str) -> None:
    """Letters differ from their background in every theme, and the theme is saved."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    await _fill_chats(alice, bob)
    async with terminal(tmp_path, alice) as ui:
        await ui.open("team")
        await ui.enter("`code` and https://x.example")
        await ui.sees("   code and https://x.example")
        await ui.enter(f"/theme {theme}")
        await ui.pilot.pause(0.3)
        for strip in ui.app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if segment.text.strip() and style and style.color and not style.color.is_default:
                    assert style.color != style.bgcolor, segment
        selected = ui.app.theme
    async with terminal(tmp_path, alice) as ui:
        assert ui.app.theme == selected
