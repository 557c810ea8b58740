"""Notices and errors of the terminal app have a line of their own. Ctrl+C copies, or says how to quit."""

from pathlib import Path

import pytest

from tests.clients.screens import Terminal, terminal
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.webhooks.receiver import LOOPBACK, receiving


async def test_notice_covers_nothing(live: Live, tmp_path: Path) -> None:
    """One line changes, which was empty. A long notice is cut there, and F2 shows it in full."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "hello")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("   hello", "✓")
        await ui.type("a draft")
        before = ui.lines
        ui.screen.show_notice("A long sentence " + "that goes on " * 10 + "to its end.", severity="error")
        await ui.pilot.pause()
        after = ui.lines
        (changed,) = [index for index in range(len(before)) if before[index] != after[index]]
        assert set(before[changed][24:]) == {"▔"}
        assert after[changed][24:].startswith(" ✗ A long sentence")
        assert after[changed].endswith("… F2")
        await ui.press("f2")
        await ui.sees("Notices and errors")
        assert "to its end." in ui.text
        await ui.press("escape")
        assert ui.screen.composer.text == "a draft"


async def test_newest_notice_is_shown_and_errors_are_held(live: Live, tmp_path: Path) -> None:
    """An error stays for as long as it takes to read it; what came meanwhile follows it."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice) as ui:
        line = ui.screen.notice_line

        def shown() -> str:
            return line.current.text if line.current else ""

        ui.screen.show_notice("first")
        ui.screen.show_notice("second")
        assert shown() == "second"
        ui.screen.show_notice("an error", severity="error")
        ui.screen.show_notice("third")
        ui.screen.show_notice("fourth")
        assert shown() == "an error"
        line.pass_time(7.9)
        assert shown() == "an error"
        ui.screen.show_notice("another error", severity="error")
        assert shown() == "another error"
        line.pass_time(8.1)
        assert shown() == "fourth"
        line.pass_time(4.1)
        assert shown() == ""
        ui.screen.show_notice("x" * 200, severity="error")
        line.pass_time(15)
        assert shown()
        ui.app.notify("[b]bold[/b] of Textual", title="Title")
        line.pass_time(15)
        assert shown() == "Title: bold of Textual"


async def test_response_of_several_lines_stays_until_esc(new_server: NewServer, tmp_path: Path) -> None:
    """It has a place of its own, between the messages and the composer."""
    live = await new_server(**LOOPBACK)
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    async with receiving() as receiver, terminal(tmp_path, alice) as ui:
        wanted = {"word": "/deploy", "name": "Deploys", "url": receiver.url}
        assert (await alice.post(f"/api/chats/{chat_id}/slash-commands", wanted)).status_code == 201
        body = '{"text": "Two are running:\\n- one\\n- another"}'
        receiver.answer = lambda request: f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        await ui.enter("/deploy")
        await eventually(lambda: "/deploy (only you see this)  Esc closes" in ui.text)
        assert "Two are running:" in ui.text
        await ui.type("typed")
        assert "- another" in ui.text
        assert ui.screen.composer.text == "typed"
        await ui.press("escape")
        await ui.sees_no("only you see this")
        assert ui.screen.composer.has_focus


async def test_ctrl_c_copies_or_says_how_to_quit(live: Live, tmp_path: Path) -> None:
    """A second one quits: in the chat, in a dialog, and on the login screen."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Team  1 member")
        await ui.type("two words")
        await ui.press("ctrl+shift+left", "ctrl+c")
        await ui.sees("Copied.")
        assert ui.app.clipboard == "words"
        await ui.press("end", "ctrl+c")
        await ui.sees("Ctrl+Q quits, and so does a second Ctrl+C.")
        assert ui.app.is_running
        await ui.press("f1")
        await _press_ctrl_c_until_the_end(ui)
    async with terminal(tmp_path / "new", url=live.url) as ui:
        await ui.sees("Password")
        before = ui.lines
        await ui.press("ctrl+c")
        await ui.sees("Ctrl+Q quits")
        await eventually(lambda: sum(old != new for old, new in zip(before, ui.lines, strict=True)) == 1)
        await _press_ctrl_c_until_the_end(ui)


async def _press_ctrl_c_until_the_end(ui: Terminal) -> None:
    """On a busy machine, a second press can come later than two seconds after the first."""

    async def has_ended() -> bool:
        await ui.press("ctrl+c")
        return not ui.app.is_running

    await eventually(has_ended)


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_focus_is_visible(live: Live, tmp_path: Path, theme: str) -> None:
    """By the line above the messages, and by the rule above the composer."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "hello")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("   hello")
        await ui.enter(f"/theme {theme}")

        def styles() -> tuple[object, object]:
            """The background of the title and the colour of the rule."""
            segments = [each for strip in ui.app.screen._compositor.render_strips() for each in strip]
            title = next((each.style for each in segments if each.text.startswith("Team")), None)
            rule = next((each.style for each in segments if each.text.startswith("▔▔▔")), None)
            return title and title.bgcolor, rule and rule.color

        await eventually(lambda: ui.app.theme == f"textual-{theme}" and all(styles()))
        await ui.pilot.pause()
        writing = styles()
        await ui.press("escape")
        await eventually(
            lambda: all(now and now != then for now, then in zip(styles(), writing, strict=True))
        )
        await ui.press("escape")
        await eventually(lambda: styles() == writing)
