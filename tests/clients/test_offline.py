"""The terminal app without a connection: readable, and nothing that is written is lost or doubled."""

from pathlib import Path
from random import Random

from blazechat.client import ConnectionState, SendState
from tests.clients.screens import terminal
from tests.clients.wire import wire
from tests.conftest import NewServer
from tests.harness import Live, eventually


async def test_what_is_written_offline_is_sent_once(new_server: NewServer, tmp_path: Path) -> None:
    """Marked as pending meanwhile; through the end of the program, and two starts after it."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await bob.say(chat_id, "before")
    async with wire(Random(1)) as network:
        network.leads_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        async with terminal(tmp_path, alice) as hers:
            await hers.sees("before", "● online")
            network.leads_to(None)
            network.cut()
            await hers.sees("○ offline", "Ctrl+R")
            await hers.say("first, offline")
            await hers.say("second, offline")
            await hers.sees("before", "first, offline", "…", "2 waiting to be sent")
            await hers.say("/members")
            await hers.sees("Try again when you are online.")
            hers.screen.composer.set_text("")
            await hers.type("half a sent")
        assert len(await alice.history(chat_id)) == 1
        async with terminal(tmp_path, None, url=network.url) as hers:
            await hers.sees("○ offline")
            network.leads_to(live.url)
            await hers.press("ctrl+r")
            await hers.is_online()
            await hers.open(bob.username)
            await hers.sees("first, offline", "second, offline", "✓")
            assert hers.screen.composer.text == "half a sent"
            await bob.say(chat_id, "after")
            await hers.sees("after")
        async with terminal(tmp_path, None, url=network.url) as hers:
            await hers.is_online()
    said = [message["content"] for message in await alice.history(chat_id)]
    assert said == ["after", "second, offline", "first, offline", "before"]


async def test_what_was_refused_can_be_retried_edited_or_discarded(
    new_server: NewServer, tmp_path: Path
) -> None:
    """Each by a key on it, with the reason beside it."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with terminal(tmp_path, alice) as hers:
        await hers.open(bob.username)
        client = hers.screen.client
        for content in ("one", "two", "three"):
            client.enqueue(chat_id, content, reply_to=77)
        await hers.sees("✗", "Not sent: ", "r retries, e edits,")
        drafts = client.outbox.for_chat(chat_id)
        assert {draft.state for draft in drafts} == {SendState.FAILED}
        await hers.press("escape", "end", "up", "down", "d")
        await eventually(lambda: len(client.outbox.for_chat(chat_id)) == 2)
        await hers.press("up", "down", "e")
        await eventually(lambda: len(client.outbox.for_chat(chat_id)) == 1)
        assert hers.screen.composer.text == "two"
        await hers.press("enter")
        await hers.sees("   two")
        drafts[0].reply_to = None  # what was wrong with it
        await hers.press("escape", "end", "down", "down", "r")
        await hers.sees("   one")
        await eventually(lambda: not client.outbox.for_chat(chat_id))
    assert [message["content"] for message in await alice.history(chat_id)] == ["one", "two"]


async def test_chat_that_is_deleted_while_one_is_away(new_server: NewServer, tmp_path: Path) -> None:
    """What was written for it can be had back."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Doomed")
    async with wire(Random(1)) as network:
        network.leads_to(live.url)
        alice.live = Live(network.url, live.app, live.server)
        async with terminal(tmp_path, alice) as hers:
            await hers.open("Doomed")
            network.leads_to(None)
            network.cut()
            await hers.sees("○ offline")
            await hers.say("a long story")
            await bob.delete(f"/api/chats/{chat_id}")
            network.leads_to(live.url)
            await hers.press("ctrl+r")
            await hers.sees("This chat was deleted", "a long story")
            await eventually(lambda: hers.screen.client.connection_state is ConnectionState.ONLINE)
            await hers.say("/unsent")
            await hers.sees("Not sent", "a chat that you cannot read: a long story")
            await hers.press("enter")
            await eventually(lambda: hers.screen.composer.text == "a long story")
            assert hers.screen.client.outbox.messages() == []
