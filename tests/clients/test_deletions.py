"""Keys among the messages of the terminal app, and deletions that can be taken back."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from textual.events import Paste

from blazechat.client import ConnectionState
from blazechat.terminal.screens.dialogs import ConfirmDialog
from tests.clients.screens import Terminal, terminal
from tests.clients.wire import TcpProxy, tcp_proxy
from tests.harness import Live, Person, eventually


async def _contents(person: Person, chat_id: int) -> list[str]:
    """The contents of a chat, oldest first; deleted messages are empty."""
    return [message["content"] for message in reversed(await person.history(chat_id))]


async def _is_deleted(person: Person, chat_id: int, message_id: int) -> bool:
    return (await _contents(person, chat_id))[message_id - 1] == ""


async def _delete_selected(ui: Terminal) -> None:
    await ui.press("d")
    await ui.sees("Delete “")
    await ui.press("y")


@contextlib.asynccontextmanager
async def through_proxy(
    live: Live, person: Person, folder: Path, **options: Any
) -> AsyncIterator[tuple[TcpProxy, Terminal]]:
    async with tcp_proxy(Random(1)) as network:
        network.forward_to(live.url)
        async with terminal(folder, person, url=network.url, **options) as ui:
            yield network, ui


async def test_words_typed_among_the_messages_delete_nothing(live: Live, tmp_path: Path) -> None:
    """Letters that are no keys of the list go to the composer; so does a letter that closes a question."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "keep me")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("keep me")
        await ui.press("escape")
        await ui.type("do you")
        await ui.sees_no("Delete “keep me”?")
        assert ui.screen.composer.text == "o you"
        ui.screen.composer.set_text("")
        await ui.press("escape")
        await ui.type("yes, dear")
        assert ui.screen.composer.text == "yes, dear"
        ui.screen.composer.set_text("")
        await ui.press("escape")
        assert ui.screen.message_list.has_focus
        ui.screen.message_list.post_message(Paste("pasted"))
        await eventually(lambda: ui.screen.composer.text == "pasted")
        await ui.press("ctrl+q")
    assert await _contents(alice, chat_id) == ["keep me"]


async def test_a_burst_of_keys_is_handled_in_order(live: Live, tmp_path: Path) -> None:
    """A key that opens a question or moves the focus does so before the next key is handled."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "keep me")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("keep me")
        composer = ui.screen.composer
        for burst, text in (("do you", "o you"), ("red ear", "ed ear")):
            await ui.press("escape")
            ui.type_in_a_burst(burst)
            await eventually(lambda text=text: composer.text == text)
            composer.set_text("")
            ui.screen.entry.cancel()
        assert await _contents(alice, chat_id) == ["keep me"]


async def test_question_is_answered_by_its_own_keys_only(live: Live, tmp_path: Path) -> None:
    """All others close it without the action."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "keep me")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("keep me")
        await ui.press("escape")
        for keys in (["n"], ["enter"], ["f5"], ["down"], ["right", "left", "enter"]):
            await ui.press("d")
            await ui.sees("Delete “keep me”?")
            await ui.press(*keys)
            await eventually(lambda: not isinstance(ui.app.screen, ConfirmDialog))
        assert not ui.screen.deletions.is_deleted(ui.screen.chat.messages[1])  # type: ignore[union-attr]
        await ui.press("d")
        await ui.sees("Delete “keep me”?")
        await ui.press("right", "enter")
        await ui.sees("deleted, u or Ctrl+Z undoes")


async def test_deletion_can_be_taken_back(live: Live, tmp_path: Path) -> None:
    """With u or Ctrl+Z. A second deletion does not cancel the first. Nothing is sent before the delay."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "first")
    await alice.say(chat_id, "second")
    await bob.say(chat_id, "answer", reply_to=2)
    async with terminal(tmp_path, alice, undo_seconds=600) as ui:
        await ui.sees("   first", "   second", f"┌ {alice.username}: second")
        await ui.press("escape", "up")
        await _delete_selected(ui)
        await ui.sees(
            "deleted, u or Ctrl+Z undoes, ",
            "┌ deleted message",
            "Deleted. Ctrl+Z undoes that for 600 s: “second”",
        )
        await ui.sees_no("   second")
        await ui.press("up")
        await _delete_selected(ui)
        await ui.sees_no("   first")
        assert ui.text.count("Ctrl+Z undoes, ") == 2
        await ui.press("e")
        await ui.sees("This message is deleted.")
        assert await _contents(alice, chat_id) == ["first", "second", "answer"]
        await ui.press("down", "u")
        await ui.sees("   second", "In the chat again: “second”")
        await ui.press("escape", "ctrl+z")  # in the composer
        await ui.sees("   first", "In the chat again: “first”")
        await ui.press("ctrl+z")
        await ui.sees("There is no deletion to undo.")
        await ui.enter("/delete")
        await ui.press("y")
        await ui.enter("/delete")  # the next one, since the last one is deleted
        await ui.sees("Delete “first”?")
        await ui.press("n")
        await ui.enter("/undo")
        await ui.sees("   second")
    assert await _contents(alice, chat_id) == ["first", "second", "answer"]


async def test_deletion_that_is_being_sent_offers_no_undo(live: Live, tmp_path: Path) -> None:
    """While the server does not answer."""
    alice = await live.person("alice")
    await alice.say(await alice.group(name="Team"), "mine")
    async with through_proxy(live, alice, tmp_path, undo_seconds=0.2) as (network, ui):
        await ui.sees("   mine")
        network.forward_to(None)
        network.cut()
        await ui.press("escape")
        await _delete_selected(ui)
        await ui.sees("▕   message deleted")
        await ui.sees("was not deleted", "   mine")


async def test_deleted_message_is_not_edited(live: Live, tmp_path: Path) -> None:
    """If it was in the composer before it was deleted. The text stays there."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "mine")
    async with terminal(tmp_path, alice, undo_seconds=600) as ui:
        await ui.sees("   mine")
        await ui.press("escape", "e")
        await ui.type(" indeed")
        ui.screen.set_focus(ui.screen.message_list)  # as a click does
        await _delete_selected(ui)
        ui.screen.set_focus(ui.screen.composer)
        await ui.press("enter")
        await ui.sees("This message is deleted. Your text is still in the composer.")
        assert ui.screen.composer.text == "mine indeed"
        assert await _contents(alice, chat_id) == ["mine"]


async def test_deletion_is_sent_after_its_delay_or_at_the_end(live: Live, tmp_path: Path) -> None:
    """Quitting, logging out and changing the account send outstanding deletions first."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    for number in range(1, 5):
        await alice.say(chat_id, f"number {number}")
    for end in (["ctrl+q"], ["/accounts"], ["/logout", "y"]):
        async with terminal(tmp_path, alice, undo_seconds=600) as ui:
            await ui.sees("number 1")
            if end == ["ctrl+q"]:
                ui.screen.deletions.undo_seconds = 0.2
                await ui.press("escape")
                await _delete_selected(ui)
                await eventually(partial(_is_deleted, alice, chat_id, 4))
                ui.screen.deletions.undo_seconds = 600
                await ui.press("escape")
            await ui.enter("/delete")
            await ui.press("y")
            await ui.sees("Ctrl+Z undoes, ")
            if end == ["ctrl+q"]:
                await ui.press("ctrl+q")
                continue
            await ui.enter(end[0])
            await ui.press(*end[1:])
            await ui.sees("Password")
    alice = await live.log_in(alice.username)
    assert await _contents(alice, chat_id) == ["", "", "", ""]


async def test_deletion_that_fails_brings_the_message_back(live: Live, tmp_path: Path) -> None:
    """With a sentence: while the server is away, at the next screen if the app ends, and if it refuses."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Team")
    await bob.say(chat_id, "theirs")
    await alice.say(chat_id, "mine")
    async with through_proxy(live, alice, tmp_path, undo_seconds=0.2) as (network, ui):
        await ui.sees("   mine")
        await ui.press("escape")

        async def theirs_is_selected() -> bool:
            await ui.press("up")
            selected = ui.screen.message_list.selected
            return selected is not None and selected.content == "theirs"

        await eventually(theirs_is_selected)
        await ui.press("d")
        await ui.sees("You can delete your own messages only.")
        await ui.press("down")
        network.forward_to(None)
        network.cut()
        await eventually(lambda: ui.screen.client.connection_state is ConnectionState.OFFLINE)
        await _delete_selected(ui)
        await ui.sees("“mine” was not deleted: ", "   mine")
        ui.screen.deletions.undo_seconds = 60
        await _delete_selected(ui)
        await ui.enter("/accounts")
        await ui.sees("“mine” was not deleted: ", "Password")
    assert await _contents(alice, chat_id) == ["theirs", "mine"]


async def test_discarded_unsent_message_can_be_taken_back(live: Live, tmp_path: Path) -> None:
    """It was not sent yet, since the server was away."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    async with through_proxy(live, alice, tmp_path) as (network, ui):
        await ui.sees("Team  1 member")
        network.forward_to(None)
        network.cut()
        await eventually(lambda: ui.screen.client.connection_state is ConnectionState.OFFLINE)
        await ui.enter("wait for me")
        await ui.sees("wait for me")
        await ui.press("escape", "d")
        await ui.sees("Discarded. Ctrl+Z undoes that for 10 s: “wait for me”")
        await ui.press("u")
        await ui.sees("In the chat again: “wait for me”", "   wait for me")
        network.forward_to(live.url)
        ui.screen.client.reconnect()

        async def is_stored() -> bool:
            return await _contents(alice, chat_id) == ["wait for me"]

        await eventually(is_stored)


async def test_selection_does_not_highlight_the_day(live: Live, tmp_path: Path) -> None:
    """Only the lines of the message have another background."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    await alice.say(chat_id, "only one")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Today", "only one")
        await ui.press("escape")
        strips = ui.app.screen._compositor.render_strips()

        def background(text: str) -> object:
            segment = next(each for strip in strips for each in strip if text in each.text)
            assert segment.style is not None
            return segment.style.bgcolor

        selected = ui.screen.message_list.get_component_rich_style("selected").bgcolor
        assert background("   only one") == selected
        assert background(" Today ") != selected
