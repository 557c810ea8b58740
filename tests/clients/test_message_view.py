"""How the messages of a chat are displayed: Markdown, links, headings, widths, and unsent messages."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import asyncpg
import pytest
from rich.cells import cell_len

from blazechat.terminal.accounts import SavedAccounts
from tests.clients import pictures
from tests.clients.screens import Terminal, register, terminal
from tests.clients.wire import tcp_proxy
from tests.conftest import NewServer
from tests.harness import Live, eventually

MARKDOWN = """\
## Release 2.4
**Bold**, *italic*, ~~gone~~, `code`, 2*3*4, snake_case, :tada: and @alice
> a quoted line that is long enough to be wrapped somewhere at its end
my answer
- one
  - nested, with a text that is long enough to be wrapped somewhere
1. first
2. second

```python
def double(number):
    return 2 * number  # a comment that is longer than the widest line of the frame, which is continued
```
See [the docs](https://example.com/docs) and https://example.com/a_b_c, ![graph](https://x.example/g.png)
| Host | Load |
|------|-----:|
| db1 | 0.5 |
---
end"""


async def test_markdown_is_drawn(new_server: NewServer, tmp_path: Path) -> None:
    """Every kind of it, sent by a person and by a program that posts to Slack."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    chat_id = await alice.group(bob, name="Team")
    hook = (await alice.post(f"/api/chats/{chat_id}/incoming-webhooks", {"name": "CI"})).json()["url"]
    await bob.say(chat_id, MARKDOWN)
    await bob.say(chat_id, "**answer**", reply_to=1)
    posted = await live.client().post(
        hook, json={"text": "*Build* <https://x.example|7> ~is~ `red`\n• *one*"}
    )
    assert posted.text == "ok"
    await alice.put(f"/api/chats/{chat_id}/messages/read")
    async with terminal(tmp_path, alice) as ui:
        await ui.press("ctrl+end")
        for width in (60, 120, 250):
            await ui.pilot.resize_terminal(width, 40)
            await ui.sees("   • one")
            for strip in ui.app.screen._compositor.render_strips():
                assert cell_len(strip.text) == width, strip.text
            await pictures.assert_matches(f"markdown_{width}", lambda: "\n".join(_lines(ui)))


async def test_links_open_by_key_and_by_click(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's program; without a desktop, the URL is copied. Terminals get hyperlinks."""
    alice = await live.person("alice")
    await alice.say(
        await alice.group(name="Team"), "see [docs](https://x.example/a) or <mailto:a@x.example>"
    )
    opened = tmp_path / "opened"
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    async with terminal(tmp_path / "a", alice) as ui:
        await ui.sees("see docs (x.example) or mailto:a@x.example")
        row = next(index for index, line in enumerate(ui.lines) if "see docs (x.example) or" in line)
        strip = ui.app.screen._compositor.render_strips()[row]
        assert ";https://x.example/a\x1b\\" in strip.render(ui.app.console)
        await ui.pilot.click(offset=(ui.lines[row].index("docs") + 1, row))
        await ui.sees("Opened x.example.")
        await ui.press("o")
        await ui.sees("Which one?", "mailto:a@x.example")
        await ui.press("down", "enter")
        await eventually(lambda: opened.read_text() == "https://x.example/a\nmailto:a@x.example\n")
        monkeypatch.delenv("DISPLAY")
        await ui.press("o", "enter")
        await ui.sees("This machine has no browser. Copied: https://x.example/a")
        assert ui.app.clipboard == "https://x.example/a"


async def test_unsent_messages_have_their_own_author(new_server: NewServer, tmp_path: Path) -> None:
    """Below the message of another author as well, also if that arrives later, and after they are sent."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    chat_id = await alice.direct(bob)
    await bob.say(chat_id, "of Bob")
    async with tcp_proxy(Random(1)) as network:
        network.forward_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        async with terminal(tmp_path, alice) as ui:
            await ui.sees("of Bob", "● online")
            network.forward_to(None)
            network.cut()
            await ui.sees("○ offline")
            await ui.enter("first, *offline*")
            await ui.enter("second, offline")
            await ui.sees("second, offline")
            assert _blocks(ui)[-5:] == [
                "bob 00:00",
                "of Bob",
                "alice 00:00",
                "first, offline …",
                "second, offline …",
            ]
            ui.screen.client.outbox.messages()[0].queued_at = 0.0
            ui.screen.message_list.update_pending()
            await eventually(lambda: "alice" in _blocks(ui))
            await bob.say(chat_id, "meanwhile")
            network.forward_to(live.url)
            await ui.press("ctrl+r")
            await ui.sees("meanwhile", "● online")
            stored = ["meanwhile", "alice 00:00", "first, offline ✓", "second, offline ✓"]
            await eventually(lambda: _blocks(ui)[-4:] == stored)
            ui.screen.client.enqueue(chat_id, "refused", attachments=[999_999])
            await ui.sees("Not sent")
            assert "\n".join([*stored[-2:], "refused ✗"]) in "\n".join(_blocks(ui))
            await bob.say(chat_id, "later")
            await eventually(lambda: "later" in _blocks(ui))
            place = _blocks(ui).index("later")
            assert _blocks(ui)[place - 1 : place + 3] == ["bob 00:00", "later", "alice 00:00", "refused ✗"]


async def test_one_author_gets_a_time_every_five_minutes(new_server: NewServer, tmp_path: Path) -> None:
    """The author of the first visible message stays at the top. A selection does not highlight the day."""
    live = await new_server()
    alice, bob = await register(live, "alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(30):
        await bob.say(chat_id, f"number {number}")
    await alice.put(f"/api/chats/{chat_id}/messages/read")
    await _spread(live, chat_id, timedelta(minutes=2))
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("number 29")
        await ui.press("escape")

        async def oldest_is_visible() -> bool:
            await ui.press("home")
            return "number 0" in ui.text

        await eventually(oldest_is_visible)
        assert _blocks(ui)[2:12] == [
            *("bob 08:00", "number 0", "number 1", "number 2"),
            *("bob 08:06", "number 3", "number 4", "number 5"),
            *("bob 08:12", "number 6"),
        ]
        await ui.press("up")
        await ui.press(*["up"] * 30)
        day = ui.screen.message_list.render_line(1)
        assert "7 January 2030" in day.text
        backgrounds = [
            {segment.style.bgcolor for segment in ui.screen.message_list.render_line(y) if segment.style}
            for y in (1, 2, 3, 4)
        ]
        assert backgrounds[0] == backgrounds[3] != backgrounds[1] == backgrounds[2]
        ui.screen.message_list.scroll_to(y=5, animate=False)
        await eventually(lambda: _blocks(ui)[0] == "bob Monday, 7 January 2030, 08:04")
        await ui.press(*["down"] * 3, *["up"] * 2)
        assert _blocks(ui)[:2] == ["bob Monday, 7 January 2030, 08:00", "number 1"]


async def test_text_has_a_maximum_width(live: Live, tmp_path: Path) -> None:
    """It is a setting, which is saved, and text keeps its place when it changes."""
    alice = await live.person("alice")
    await alice.say(await alice.group(name="Team"), "word " * 100)
    async with terminal(tmp_path, alice, size=(250, 40)) as ui:
        await ui.sees("word word")
        assert max(map(len, _blocks(ui)[3:6])) <= 100
        await ui.enter("/width 60")
        await ui.sees("Text is at most 60 columns wide.")
        assert max(map(len, _blocks(ui)[3:6])) <= 60
        await ui.enter("/width 7")
        await ui.sees("Usage: /width 20…1000")
    assert SavedAccounts(tmp_path).preferences().width == 60
    async with terminal(tmp_path, alice, size=(250, 40)) as ui:
        await ui.sees("word word")
        assert max(map(len, _blocks(ui)[3:6])) <= 60


def _lines(ui: Terminal) -> list[str]:
    """The lines of the messages; times of today are 00:00."""
    messages = ui.screen.message_list
    lines = [messages.render_line(y).text.rstrip() for y in range(messages.size.height)]
    is_today = "2030" not in "".join(lines)
    return [re.sub(r"\d\d:\d\d", "00:00", line) if is_today else line for line in lines]


def _blocks(ui: Terminal) -> list[str]:
    """The lines of the messages that are not empty, without spaces at their sides."""
    return [" ".join(line.split()) for line in _lines(ui) if line]


async def _spread(live: Live, chat_id: int, interval: timedelta) -> None:
    """Set the times of a chat's messages, this long after each other, from 8 o'clock of a day."""
    connection = await asyncpg.connect(live.app.state.settings.database_url)
    await connection.execute(
        "UPDATE messages SET created_at = $2::timestamptz + (id - 1) * $3::interval WHERE chat_id = $1",
        chat_id,
        datetime(2030, 1, 7, 8).astimezone(),
        interval,
    )
    await connection.close()
