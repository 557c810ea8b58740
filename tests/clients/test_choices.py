"""Lists and pickers of the terminal app: commands, themes, pinned messages, sessions, reactions."""

from pathlib import Path

from textual.events import Key

from blazechat.client import Client
from blazechat.terminal.accounts import SavedAccounts
from blazechat.terminal.screens.chat import ChatScreen
from tests.clients.screens import Terminal, terminal
from tests.harness import PASSWORD, Live, Person, eventually


async def _reactions(person: Person, chat_id: int, message_id: int) -> list[str]:
    message = (await person.get(f"/api/chats/{chat_id}/messages/{message_id}")).json()
    return [reaction["emoji"] for reaction in message["reactions"]]


def _listed_commands(ui: Terminal) -> list[str]:
    words = [line[24:].split()[:1] for line in ui.lines]
    return [word for found in words for word in found if word.startswith("/") and len(word) > 1]


async def test_commands_are_listed_by_usefulness(live: Live, tmp_path: Path) -> None:
    """Those first that are used most; the list scrolls with the selection, to the last one."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Team  1 member")
        await ui.type("/")
        await ui.sees("/dm @user")
        assert _listed_commands(ui) == ["/dm", "/group", "/send", "/find", "/members", "/help"]
        await ui.press("up")
        await ui.sees("/delete-chat")
        assert len(_listed_commands(ui)) == 6
        await ui.press("escape", "backspace")
        await ui.enter("/notify on")
        await ui.sees("are on")
        await ui.type("/")
        await eventually(lambda: _listed_commands(ui)[:1] == ["/notify"])
        await ui.type("status a")
        await ui.press("tab")
        assert ui.screen.composer.text == "/status away"
        await ui.press("ctrl+u")
        assert ui.screen.composer.text == ""
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Team  1 member")
        await ui.type("/")
        await eventually(lambda: _listed_commands(ui)[:1] == ["/notify"])


async def test_themes_are_listed_and_saved(live: Live, tmp_path: Path) -> None:
    """The current one is marked; the highlighted one is displayed until the list is closed."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice, size=(80, 40)) as ui:
        await ui.sees("Team  1 member")
        await ui.enter("/theme")
        await ui.sees("Themes", "✓ dark", "  light", "  nord")
        await ui.press("down")
        await eventually(lambda: ui.app.theme == "textual-light")
        await ui.press("escape")
        await eventually(lambda: ui.app.theme == "textual-dark")
        await ui.enter("/theme")
        await ui.sees("Themes")
        await ui.press("down", "enter")
        await eventually(lambda: SavedAccounts(tmp_path).preferences().theme == "textual-light")
        await ui.type("/theme nor")
        await ui.press("enter", "enter")
        await eventually(lambda: ui.app.theme == "nord")
        await ui.enter("/theme nosuch")
        await ui.sees("There is no theme nosuch. /theme lists them.")
    assert SavedAccounts(tmp_path).preferences().theme == "nord"


async def test_pinned_message_far_up_is_found(live: Live, tmp_path: Path) -> None:
    """The messages since then are loaded. The same for the message that a reply quotes."""
    alice = await live.person("alice")
    chat_id = await alice.group(name="Team")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("Team  1 member")
        await ui.enter("/pins")
        await ui.sees("No message is pinned in this chat.")
        ui.screen.composer.set_text("")
        await alice.say(chat_id, "the plan")
        for number in range(70):
            await alice.say(chat_id, f"number {number}")
        await alice.say(chat_id, "as I said", reply_to=2)
        await alice.put(f"/api/chats/{chat_id}/messages/1/pin")
    async with terminal(tmp_path, alice) as ui:
        await ui.sees("   as I said")
        assert 1 not in ui.screen.chat.messages  # type: ignore[union-attr]
        await ui.enter("/pins")
        await ui.sees("Pinned in Team", ": the plan")
        await ui.press("enter")
        await ui.sees("   the plan")
        selected = ui.screen.message_list.selected
        assert selected is not None
        assert selected.content == "the plan"
        assert ui.screen.message_list.has_focus
        await ui.press("ctrl+end", "up", "enter")
        await ui.sees("   number 0")


async def test_sessions_are_listed_and_ended(live: Live, tmp_path: Path) -> None:
    """One of them, or all others."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    clients = [Client(live.url, device=f"Laptop {number}") for number in (1, 2, 3)]
    for each in clients:
        await each.log_in(alice.username, PASSWORD)
    async with terminal(tmp_path, alice, size=(120, 30)) as ui:
        await ui.sees("Team  1 member")

        client = ui.screen.client

        async def devices() -> list[str]:
            return sorted(session.device for session in await client.sessions.list_all())

        before = await devices()
        await ui.enter("/sessions")
        await ui.sees("Your sessions", "Laptop 2", "this one", f"End all others ({len(before) - 1})")
        lines = ui.lines
        own = next(index for index, line in enumerate(lines) if "  last used" in line)
        target = next(index for index, line in enumerate(lines) if "Laptop 2" in line)
        await ui.press(*["down"] * (target - own), "enter")
        await ui.sees("End the session of Laptop 2?")
        await ui.press("y")
        await ui.sees("The session of Laptop 2 is ended.", "Your sessions")
        assert await devices() == sorted(set(before) - {"Laptop 2"})
        await ui.press("up", "enter")  # the last entry
        await ui.sees(f"End all {len(before) - 2} other sessions?")
        await ui.press("y")
        await ui.sees_no("End all")
        await ui.sees("Your sessions")
        await ui.press("escape")
        await eventually(lambda: isinstance(ui.app.screen, ChatScreen))
        assert len(await devices()) == 1
    for each in clients:
        await each.close()


async def test_reactions_are_picked_by_name(live: Live, tmp_path: Path) -> None:
    """The most used ones come first. A second time removes one's own."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await bob.say(chat_id, "Lunch?")
    async with terminal(tmp_path, alice, size=(80, 30)) as ui:
        await ui.sees("   Lunch?")
        await ui.press("escape", "plus")
        await ui.sees("React with", "👍  thumbs up  :+1:")
        await ui.type("ta")
        await ui.sees("🌮  taco")
        await ui.press("escape")
        for key in ("plus", *"taco", "enter"):  # a burst, faster than the picker is drawn
            ui.app.post_message(Key(key, key if len(key) == 1 else None))
        await ui.sees("🌮 1")
        await ui.press("plus")
        await ui.sees("🌮  taco  ✓ yours")
        await ui.press("down", "enter")
        await ui.sees("👍 1")
        assert await _reactions(alice, chat_id, 1) == ["🌮", "👍"]
        await ui.press("plus")
        await ui.sees("🌮  taco  ✓ yours")
        await ui.press("enter")
        await ui.sees_no("🌮 1")
        await ui.press("plus")
        await ui.type("no such emoji")
        await ui.press("enter", "escape")
        await ui.press("escape")
        await ui.enter("/react")
        await ui.sees("React with", "👍  thumbs up  :+1:  ✓ yours")
        await ui.type("red heart")
        await ui.press("enter")
        await ui.sees("1  ")
        await eventually(lambda: len(ui.screen.chat.messages[1].reactions) == 2)  # type: ignore[union-attr]
