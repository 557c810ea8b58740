"""The terminal app without a connection: chats stay readable, no message is lost or sent twice."""

import asyncio
import re
from pathlib import Path
from random import Random

from blazechat.client import ConnectionState, SendState
from blazechat.terminal.accounts import SavedAccounts
from tests.clients.screens import save_login, terminal
from tests.clients.wire import tcp_proxy
from tests.conftest import NewServer
from tests.harness import Live, eventually


async def test_offline_messages_are_sent_once(new_server: NewServer, tmp_path: Path) -> None:
    """They are marked as pending, and survive the end of the program and two more starts."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await bob.say(chat_id, "before")
    async with tcp_proxy(Random(1)) as network:
        network.forward_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        async with terminal(tmp_path, alice) as alice_ui:
            await alice_ui.sees("before", "● online")
            network.forward_to(None)
            network.cut()
            await alice_ui.sees("○ offline", "Ctrl+R")
            await alice_ui.enter("first, offline")
            await alice_ui.enter("second, offline")
            await alice_ui.sees("before", "first, offline", "…", "2 unsent")
            await alice_ui.enter("/members")
            await alice_ui.sees("Try again when you are online.")
            alice_ui.screen.composer.set_text("")
            await alice_ui.type("half a sent")
        assert len(await alice.history(chat_id)) == 1
        async with terminal(tmp_path, None, url=network.url) as alice_ui:
            await alice_ui.sees("○ offline")
            network.forward_to(live.url)
            await alice_ui.press("ctrl+r")
            await alice_ui.wait_until_online()
            await alice_ui.open(bob.username)
            await alice_ui.sees("first, offline", "second, offline", "✓")
            assert alice_ui.screen.composer.text == "half a sent"
            await bob.say(chat_id, "after")
            await alice_ui.sees("after")
        async with terminal(tmp_path, None, url=network.url) as alice_ui:
            await alice_ui.wait_until_online()
    contents = [message["content"] for message in await alice.history(chat_id)]
    assert contents == ["after", "second, offline", "first, offline", "before"]


async def test_text_typed_before_a_chat_is_open_stays(live: Live, tmp_path: Path) -> None:
    """The app opens the first chat once it is connected."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with tcp_proxy(Random(1)) as network:
        await save_login(SavedAccounts(tmp_path), network.url, alice)
        async with terminal(tmp_path, url=network.url) as alice_ui:
            await alice_ui.sees("○ offline")
            await alice_ui.type("typed early")
            network.forward_to(live.url)
            await alice_ui.press("ctrl+r")
            await alice_ui.sees("Team  1 member")
            assert alice_ui.screen.composer.text == "typed early"


ONLINE_SECONDS = 3.0


async def test_outage_line_keeps_the_account_and_counts_down(live: Live, tmp_path: Path) -> None:
    """In every width; an attempt does not replace it. The app is online soon after the server is back."""
    alice = await live.person("alice")
    await alice.group()
    async with tcp_proxy(Random(1)) as network:
        network.forward_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        account = f" {alice.username} · {network.url.removeprefix('http://')}"
        async with terminal(tmp_path, alice, size=(120, 30)) as ui:
            await ui.sees("● online")
            network.forward_to(None)
            network.cut()
            seen: set[str] = set()

            async def counts_down() -> bool:
                await ui.pilot.pause()
                seen.update(re.findall(r"· (next try in \d+ s|connecting)", ui.lines[0]))
                assert "○ offline" in ui.lines[0] or not seen, ui.lines[0]
                return {"next try in 2 s", "next try in 1 s"} <= seen

            await eventually(counts_down)
            await ui.sees("Ctrl+R: now · ", "cannot be reached")
            for width in (200, 80, 60):
                await ui.pilot.resize_terminal(width, 24)
                ui.screen.update_status_lines()
                await ui.sees(account, "○ offline · ")
                assert ui.lines[0].startswith(account), ui.lines[0]
                assert re.search(r"○ offline · (next try in \d+ s|connecting …)", ui.lines[0]), ui.lines[0]
            network.forward_to(live.url)
            async with asyncio.timeout(ONLINE_SECONDS):
                await ui.wait_until_online()
            await ui.sees("● online")


async def test_refused_messages_can_be_retried_edited_or_discarded(
    new_server: NewServer, tmp_path: Path
) -> None:
    """Each by a key on the message, which shows the reason."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open(bob.username)
        client = alice_ui.screen.client
        for content in ("one", "two", "three"):
            client.enqueue(chat_id, content, reply_to=77)
        await alice_ui.sees("✗", "Not sent: ", "r retries, e edits,")
        drafts = client.outbox.for_chat(chat_id)
        await eventually(lambda: {draft.state for draft in drafts} == {SendState.FAILED})
        await alice_ui.press("escape", "end", "up", "down", "d")
        await eventually(lambda: len(client.outbox.for_chat(chat_id)) == 2)
        await alice_ui.press("up", "down", "e")
        await eventually(lambda: len(client.outbox.for_chat(chat_id)) == 1)
        assert alice_ui.screen.composer.text == "two"
        await alice_ui.press("enter")
        await alice_ui.sees("   two")
        drafts[0].reply_to = None  # the reason why it was refused
        await alice_ui.press("escape", "end", "down", "down", "r")
        await alice_ui.sees("   one")
        await eventually(lambda: not client.outbox.for_chat(chat_id))
    assert [message["content"] for message in await alice.history(chat_id)] == ["one", "two"]


async def test_unsent_message_of_a_deleted_chat_can_be_restored(
    new_server: NewServer, tmp_path: Path
) -> None:
    """The chat was deleted while the app was offline: /unsent returns the text to the composer."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Doomed")
    async with tcp_proxy(Random(1)) as network:
        network.forward_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        async with terminal(tmp_path, alice) as alice_ui:
            await alice_ui.open("Doomed")
            network.forward_to(None)
            network.cut()
            await alice_ui.sees("○ offline")
            await alice_ui.enter("a long story")
            await bob.delete(f"/api/chats/{chat_id}")
            network.forward_to(live.url)
            await alice_ui.press("ctrl+r")
            await alice_ui.sees("This chat was deleted", "a long story")
            await eventually(lambda: alice_ui.screen.client.connection_state is ConnectionState.ONLINE)
            await alice_ui.enter("/unsent")
            await alice_ui.sees("Not sent", "a chat that you cannot read: a long story")
            await alice_ui.press("enter")
            await eventually(lambda: alice_ui.screen.composer.text == "a long story")
            assert alice_ui.screen.client.outbox.messages() == []
