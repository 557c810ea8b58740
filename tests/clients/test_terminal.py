"""The terminal app, key by key, on a live server."""

import asyncio
from pathlib import Path

import pytest
from textual.events import Paste

from blazechat.client import Client
from blazechat.terminal.accounts import SavedAccounts
from blazechat.terminal.screens.login import LoginScreen
from tests.clients.screens import Terminal, terminal
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually
from tests.webhooks.receiver import LOOPBACK, receiving


async def test_conversation_of_two_users(live: Live, tmp_path: Path) -> None:
    """Each of them sees the other's messages, typing and read cursor."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    async with terminal(tmp_path / "a", alice) as alice_ui, terminal(tmp_path / "b", bob) as bob_ui:
        await alice_ui.open(bob.username)
        await bob_ui.open(alice.username)
        await alice_ui.type("Hello")
        await bob_ui.sees(f"{alice.username} is typing")
        await alice_ui.enter(" Bob!")
        await bob_ui.sees("   Hello Bob!")
        await alice_ui.sees("Hello Bob!", f"Read by {bob.username}", "✓✓")
        await bob_ui.enter("Hello yourself")
        await alice_ui.sees("   Hello yourself")
        assert alice_ui.screen.composer.text == ""


async def test_keys_and_commands_act_on_messages(live: Live, tmp_path: Path) -> None:
    """Edit, reply, react, pin and delete, on the selected message or the last one."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "first")
    await bob.say(chat_id, "second")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("first", "second")
        await alice_ui.press("escape", "up", "e")
        await alice_ui.sees("Editing: first")
        await alice_ui.enter(" edited")
        await alice_ui.sees("first edited (edited)")
        await alice_ui.sees_no("Editing:")
        await alice_ui.press("escape", "down", "r")
        await alice_ui.sees("Replying to", ": second")
        await alice_ui.enter("third")
        await alice_ui.sees("┌ " + bob.username + ": second", "   third")
        await alice_ui.enter("/react :tada:")
        await alice_ui.sees("🎉 1")
        await alice_ui.enter("/unreact tada")
        await alice_ui.sees_no("🎉 1")
        await alice_ui.enter("/pin")
        await alice_ui.sees("pinned")
        await alice_ui.enter("/delete")
        await alice_ui.sees("Delete “third”?")
        await alice_ui.press("n")
        await alice_ui.enter("/delete")
        await alice_ui.sees("Delete “third”?")
        await alice_ui.press("y")
        await alice_ui.sees("deleted, u or Ctrl+Z undoes, ")
    assert [m["content"] for m in await alice.history(chat_id)] == ["", "second", "first edited"]


async def test_commands_manage_groups(live: Live, tmp_path: Path) -> None:
    """Create, add, rename, list, leave. Wrong usage is explained, and the text returns to the composer."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("no chats yet", "Welcome, ")
        await alice_ui.enter(f"/group Our Team @{bob.username}")
        await alice_ui.sees("Our Team  2 members")
        await alice_ui.enter(f"/add @{carol.username}")
        await alice_ui.sees("3 members")
        await alice_ui.enter("/rename Their Team")
        await alice_ui.sees("Their Team  3 members")
        await alice_ui.enter(f"/role @{bob.username} admin")
        await alice_ui.enter("/members")
        await alice_ui.sees("3 members in Their Team", f"{bob.username}  @{bob.username}  admin", "owner")
        await alice_ui.press("escape")
        await alice_ui.enter("/role carol")
        await alice_ui.sees("Usage: /role @user owner|admin|member")
        await eventually(lambda: alice_ui.screen.composer.text == "/role carol")
        alice_ui.screen.composer.set_text("")
        await alice_ui.enter("/nonsense")
        await alice_ui.sees("There is no command /nonsense")
        assert alice_ui.screen.composer.text == "/nonsense"
        alice_ui.screen.composer.set_text("")
        await alice_ui.enter(f"/remove @{carol.username}")
        await alice_ui.sees("Remove carol")
        await alice_ui.press("y")
        await alice_ui.sees("2 members")
        await alice_ui.enter("/leave")
        await alice_ui.sees("Leave Their Team?")
        await alice_ui.press("y")
        await alice_ui.sees("You are no longer a member of this chat.")


async def test_slash_commands_of_the_chat(new_server: NewServer, tmp_path: Path) -> None:
    """Their private responses are displayed, whether they come immediately or later."""
    live = await new_server(**LOOPBACK)
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with receiving() as receiver, terminal(tmp_path, alice) as alice_ui:
        wanted = {"word": "/deploy", "name": "Deploys", "url": receiver.url}
        assert (await alice.post(f"/api/chats/{chat_id}/slash-commands", wanted)).status_code == 201
        body = '{"text": "Two are running:\\n- one\\n- another"}'
        receiver.answer = lambda request: f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        await alice_ui.enter("/deploy --list")
        await alice_ui.sees("/deploy (only you see this)\nTwo are running:", "- another")
        assert receiver.requests[0].event["text"] == "--list"
        await live.client().post(
            receiver.requests[0].event["response_url"], json={"text": "And a third by now."}
        )
        await alice_ui.sees("Deploys (only you see this)\nAnd a third by now.")
        receiver.answer = lambda request: 500
        await alice_ui.enter("/deploy now")
        await alice_ui.sees("the receiver answered 500")
        await eventually(lambda: alice_ui.screen.composer.text == "/deploy now")


async def test_older_messages_are_loaded_without_a_jump(live: Live, tmp_path: Path) -> None:
    """The visible lines stay in place while pages are added above them, until the first message."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    for number in range(1, 181):
        await alice.say(chat_id, f"number {number}" + " and more" * (number % 20))
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("number 180")
        await alice_ui.press("pageup", "pageup")
        message_list = alice_ui.screen.message_list
        while not message_list.chat or not message_list.chat.has_all_messages:
            loaded = len(message_list._message_layout.ids)
            message_list.scroll_to(y=3, animate=False, immediate=True, force=True)
            await alice_ui.pilot.pause()
            before = alice_ui.lines[5:15]
            await eventually(lambda n=loaded: len(message_list._message_layout.ids) > n)
            await alice_ui.pilot.pause(0.1)
            assert alice_ui.lines[5:15] == before
        await alice_ui.press("escape", "home")
        await alice_ui.sees("the beginning of this chat", "   number 1")
        await alice_ui.press("escape", "ctrl+end")
        await alice_ui.sees("number 180")


async def test_new_messages_do_not_move_a_view_above_the_end(live: Live, tmp_path: Path) -> None:
    """They are counted. Ctrl+End scrolls to them, which marks them as read."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(40):
        await bob.say(chat_id, f"old {number}")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("new messages", "old 0")  # at the first unread message
        await alice_ui.press("ctrl+end")
        await alice_ui.sees("old 39")
        await eventually(lambda: alice_ui.screen.chat is not None and not alice_ui.screen.chat.unread)
        await alice_ui.press("pageup")
        await alice_ui.pilot.pause()
        before = [line[24:78] for line in alice_ui.lines[2:18]]
        await bob.say(chat_id, "new one")
        await alice_ui.sees("↓ 1 new (Ctrl+End)")
        assert [line[24:78] for line in alice_ui.lines[2:18]] == before
        assert (await alice.get(f"/api/chats/{chat_id}")).json()["unread"] == 1
        await alice_ui.press("ctrl+end")
        await alice_ui.sees("new one")

        async def is_read() -> bool:
            unread: int = (await alice.get(f"/api/chats/{chat_id}")).json()["unread"]
            return unread == 0

        await eventually(is_read)


async def test_each_chat_keeps_its_draft(live: Live, tmp_path: Path) -> None:
    """While other chats are open, and after the app has ended."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    await alice.group(name="Builders")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open("Builders")
        await alice_ui.type("for the builders")
        await alice_ui.press("ctrl+down")
        assert alice_ui.screen.composer.text == ""
        await alice_ui.type("for bob")
        await alice_ui.press("ctrl+q")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open(bob.username)
        assert alice_ui.screen.composer.text == "for bob"
        await alice_ui.open("Builders")
        assert alice_ui.screen.composer.text == "for the builders"


async def test_too_long_message_stays_in_the_composer(live: Live, tmp_path: Path) -> None:
    """The number of characters is displayed, and nothing is sent until the text is short enough."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with terminal(tmp_path, alice) as alice_ui:
        alice_ui.screen.composer.insert("x" * 10_001)
        await alice_ui.sees("10,001 of 10,000 characters")
        await alice_ui.press("enter")
        await alice_ui.sees("A message has at most 10,000 characters; this has 10,001.")
        assert len(alice_ui.screen.composer.text) == 10_001
        await alice_ui.press("backspace", "enter")
        await alice_ui.sees("✓")
        assert [len(m["content"]) for m in await alice.history(chat_id)] == [10_000]


async def test_lines_history_and_completion(live: Live, tmp_path: Path) -> None:
    """Several lines, the history, completion of names, emoji and commands; two slashes send one."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.type("one")
        await alice_ui.press("alt+enter")
        await alice_ui.type("two")
        await alice_ui.press("ctrl+j")
        await alice_ui.enter("three")
        await alice_ui.sees("   one", "   two", "   three")
        await alice_ui.enter(f"hey @{bob.username[:3]}")  # Enter completes first
        await alice_ui.press("enter")
        await alice_ui.enter("fine :+1: and 10:30:00")
        await alice_ui.sees("fine 👍 and 10:30:00")
        await alice_ui.type("/mem")
        await alice_ui.sees("/members   list the members of this chat")
        await alice_ui.press("escape")
        alice_ui.screen.composer.set_text("")
        await alice_ui.press("up")
        assert alice_ui.screen.composer.text == "fine 👍 and 10:30:00"
        await alice_ui.press("up", "down", "down")
        assert alice_ui.screen.composer.text == ""
        await alice_ui.enter("//etc/passwd")
        await alice_ui.sees("   /etc/passwd")
        contents = [message["content"] for message in await alice.history(chat_id)]
        assert contents == [
            "/etc/passwd",
            "fine 👍 and 10:30:00",
            f"hey @{bob.username} ",
            "one\ntwo\nthree",
        ]


async def test_removed_member_keeps_chat_and_text(live: Live, tmp_path: Path) -> None:
    """The app says so, the messages stay readable and the text stays; the same if the chat is deleted."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Secret club")
    await bob.say(chat_id, "who is this")
    other = await bob.direct(alice)
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open("Secret")
        await alice_ui.sees("who is this")
        await alice_ui.type("it is me")
        await bob.delete(f"/api/chats/{chat_id}/members/{alice.id}")
        await alice_ui.sees("You are no longer a member of this chat.", "who is this", "it is me")
        await alice_ui.press("enter")
        await alice_ui.sees("Your text is still in the composer.")
        assert alice_ui.screen.composer.text == "it is me"
        await alice_ui.open(bob.username)
        await alice_ui.type("hello")
        await bob.delete(f"/api/chats/{other}")
        await alice_ui.sees("This chat was deleted, or you are no longer a member of it.")
        assert alice_ui.screen.composer.text == "hello"


async def test_session_ended_on_another_device(live: Live, tmp_path: Path) -> None:
    """The login screen says so. After the login, the draft is there."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open("Team")
        await alice_ui.type("half a sen")
        await alice.post("/api/auth/logout-all")
        await alice_ui.sees("Your session has ended or has expired; log in again.")
        assert isinstance(alice_ui.app.screen, LoginScreen)
        await alice_ui.type(PASSWORD)
        await alice_ui.press("enter")
        await alice_ui.wait_until_online()
        await alice_ui.sees("Team")
        await eventually(lambda: alice_ui.screen.composer.text == "half a sen")


async def test_login_and_its_errors(live: Live, tmp_path: Path) -> None:
    """An invalid URL, no server, another server, a wrong password; then success, and logout."""
    alice = await live.person("alice")

    async def fill(ui: Terminal, **values: str) -> None:
        for field, value in values.items():
            ui.app.screen.query_one(f"#{field}").value = value  # type: ignore[attr-defined]

    async def not_chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        writer.close()

    listener = await asyncio.start_server(not_chat, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with terminal(tmp_path) as ui, listener:
        await fill(ui, url="ftp://example.com", username=alice.username, password="wrong")
        await ui.press("enter")
        await ui.sees("begins with http:// or")
        await fill(ui, url="127.0.0.1:1")
        await ui.press("enter")
        await ui.sees("cannot be reached")
        await fill(ui, url=f"127.0.0.1:{port}")
        await ui.press("enter")
        await ui.sees("does not answer as")
        await fill(ui, url=live.url)
        await ui.press("enter")
        await ui.sees("The user name or password is wrong.")
        assert ui.app.screen.query_one("#username").value == alice.username  # type: ignore[attr-defined]
        await fill(ui, password=PASSWORD)
        await ui.press("enter")
        await ui.wait_until_online()
    assert [account.username for account in SavedAccounts(tmp_path).all()] == [alice.username]
    async with terminal(tmp_path) as ui:
        await ui.wait_until_online()  # with the saved login
        await ui.enter("/logout")
        await ui.sees("Log out on this machine?")
        await ui.press("y")
        await ui.sees("User name")
    assert SavedAccounts(tmp_path).all() == []


async def test_registration_and_change_of_account(new_server: NewServer, tmp_path: Path) -> None:
    """The server's errors appear in the form, and the input stays."""
    live = await new_server()
    async with terminal(tmp_path, url=live.url) as ui:
        await ui.press("ctrl+n")
        await ui.sees("E-mail")
        for value in ("ali ce", "alice@example.com", PASSWORD):
            await ui.type(value.replace("@", "@"))
            await ui.press("enter")
        await ui.sees("A user name has 1 to 50 letters")
        ui.app.screen.query_one("#username").value = "alice"  # type: ignore[attr-defined]
        await ui.press("enter")
        await ui.wait_until_online()
        await live.person("bob")
        await ui.enter("/accounts")
        await ui.sees("Continue as alice@127.0.0.1")
        ui.app.screen.query_one("#username").value = "bob1"  # type: ignore[attr-defined]
    assert [account.username for account in SavedAccounts(tmp_path).all()] == ["alice"]


async def test_mentions_ring_the_bell_without_focus(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Direct messages and mentions ring it, if notifications are on and the terminal has no focus."""
    alice, bob = await live.people("alice", "bob")
    group = await bob.group(alice)
    direct = await bob.direct(alice)
    bells: list[int] = []
    async with terminal(tmp_path, alice) as alice_ui:
        monkeypatch.setattr(alice_ui.app, "bell", lambda: bells.append(1))

        async def bells_for(chat_id: int, content: str) -> int:
            bells.clear()
            message = await bob.say(chat_id, content)
            state = alice_ui.screen.client.state
            await eventually(lambda: state.chats[chat_id].last_message_id >= message["id"])
            await alice_ui.pilot.pause(0.1)
            return len(bells)

        from textual.events import AppBlur, AppFocus

        assert await bells_for(direct, "with focus") == 0
        alice_ui.app.post_message(AppBlur())
        await alice_ui.pilot.pause(0.1)
        assert await bells_for(direct, "without focus") == 1
        assert await bells_for(group, "without a mention") == 0
        assert await bells_for(group, f"@{alice.username}: come!") == 1
        await alice_ui.enter("/notify off")
        await alice_ui.pilot.pause(0.1)
        alice_ui.app.post_message(AppBlur())
        await alice_ui.pilot.pause(0.1)
        assert await bells_for(direct, "quiet") == 0
        alice_ui.app.post_message(AppFocus())
    assert not SavedAccounts(tmp_path).preferences().notify


async def test_changes_by_another_client_are_displayed(live: Live, tmp_path: Path) -> None:
    """The name and the members of a chat."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Before")
    async with terminal(tmp_path, alice) as alice_ui, Client(live.url) as other:
        await other.log_in(bob.username, PASSWORD)
        await alice_ui.sees("Before  2 members")
        await other.chats.update(chat_id, name="After")
        await alice_ui.sees("After  2 members")
        await other.chats.remove_member(chat_id, bob.id)
        await alice_ui.sees("After  1 member")


ESCAPES = "evil \x1b]0;PWNED\x07 \x9b31m \u202e"


async def test_untrusted_control_characters_are_never_written(live: Live, tmp_path: Path) -> None:
    """Not in messages, quotes, banners, the chat list, the composer, pasted input, or notices."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, ESCAPES)
    mine = await alice.say(chat_id, ESCAPES, reply_to=1)
    async with terminal(tmp_path, alice) as alice_ui:

        def check() -> None:
            for line in alice_ui.lines:
                assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in line), line

        await alice_ui.sees("evil ␛]0;PWNED␇ ‹9B›31m ‹RLO›")
        check()
        await alice_ui.press("escape", "up", "r")
        await alice_ui.sees("Replying to")
        check()
        await alice_ui.press("escape", "escape", "end", "e")
        await alice_ui.sees("Editing")
        check()
        await alice_ui.press("escape")
        alice_ui.screen.composer.post_message(Paste(ESCAPES + "\r\nsecond"))
        await alice_ui.sees("second")
        check()
        alice_ui.screen.composer.set_text("")
        await alice_ui.press("ctrl+k")
        alice_ui.app.screen.focused.post_message(Paste(ESCAPES))  # type: ignore[union-attr]
        await alice_ui.sees("evil ]0;PWNED")
        check()
        await alice_ui.press("escape")
        alice_ui.screen.show_notice(f"[red]{ESCAPES}[/red]")
        await alice_ui.pilot.pause(0.1)
        assert alice_ui.notices[0].startswith("[red]evil ␛]0;PWNED␇")
        assert mine["id"] == 2


async def test_text_that_looks_like_a_command_stays_text(live: Live, tmp_path: Path) -> None:
    """In an edit, and when it is recalled from the history."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    await alice.say(chat_id, "/quit")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("/quit")
        await alice_ui.press("escape", "e")
        await alice_ui.sees("Editing: /quit")
        await alice_ui.enter("!")
        await alice_ui.sees("/quit! (edited)")
        await alice_ui.enter("//help me")
        await alice_ui.sees("   /help me")
        await alice_ui.press("up", "enter")
        await eventually(
            lambda: alice_ui.screen.chat is not None and alice_ui.screen.chat.last_message_id == 3
        )
        assert [m["content"] for m in await alice.history(chat_id)] == ["/help me", "/help me", "/quit!"]


async def test_drafts_and_edits_are_not_overwritten(live: Live, tmp_path: Path) -> None:
    """By a reaction, by another chat during an edit, or by a reply during an edit."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.group(name="Other")
    await bob.say(chat_id, "theirs")
    await alice.say(chat_id, "mine")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.open(bob.username)
        await alice_ui.type("my draft")
        await alice_ui.press("escape", "plus")
        await alice_ui.sees("React with")
        await alice_ui.enter(":tada:")
        await alice_ui.sees("🎉 1")
        assert alice_ui.screen.composer.text == "my draft"
        await alice_ui.press("e")
        await alice_ui.sees("Editing: mine")
        await alice_ui.type(" edited")
        await alice_ui.press("ctrl+down")
        await alice_ui.sees("Save your edit first")
        assert alice_ui.screen.composer.text == "mine edited"
        alice_ui.screen.entry.reply(alice_ui.screen.chat.messages[1])  # type: ignore[union-attr]
        await alice_ui.sees("Replying to")
        assert alice_ui.screen.composer.text == "my draft"


async def test_messages_are_read_after_scrolling_back(live: Live, tmp_path: Path) -> None:
    """Selection far up and back to the end: the next message is visible, and marked as read."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(40):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("number 39")
        await alice_ui.press("escape", *["up"] * 25, *["down"] * 30)
        await alice_ui.pilot.pause(0.2)
        await bob.say(chat_id, "seen")
        await alice_ui.sees("   seen")

        async def is_read() -> bool:
            unread: int = (await alice.get(f"/api/chats/{chat_id}")).json()["unread"]
            return unread == 0

        await eventually(is_read)


async def test_quotes_and_headings_follow_changes(live: Live, tmp_path: Path) -> None:
    """A quote of a deleted message loses its content. A new display name appears in headings."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, "secret thing")
    await bob.say(chat_id, "answer", reply_to=1)
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees(f"┌ {bob.username}: secret thing")
        await bob.delete(f"/api/chats/{chat_id}/messages/1")
        await alice_ui.sees("┌ deleted message")
        await bob.put(f"/api/users/{bob.id}", {"display_name": "Robert"})
        await alice_ui.sees(" Robert  ", "● Robert" if "●" in alice_ui.lines[2] else "○ Robert")


async def test_older_messages_in_a_tall_terminal(live: Live, tmp_path: Path) -> None:
    """They are loaded without a key if the first page does not fill the terminal."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    for number in range(120):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice, size=(120, 100)) as alice_ui:
        await alice_ui.sees("number 119", "number 40")
        message_list = alice_ui.screen.message_list

        async def beginning_is_loaded() -> bool:
            await alice_ui.press("pageup")
            return "the beginning of this chat" in alice_ui.text and "number 0" in alice_ui.text

        await eventually(beginning_is_loaded)
        assert len(message_list._message_layout.ids) == 120


async def test_reactions_above_do_not_move_the_view(live: Live, tmp_path: Path) -> None:
    """Nor do edits that make a message longer."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(60):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("number 59")
        await alice_ui.press("pageup")
        await alice_ui.pilot.pause(0.1)
        before = [line[24:74] for line in alice_ui.lines[2:18]]
        await bob.put(f"/api/chats/{chat_id}/messages/15/reactions/🎉")
        await alice.put(f"/api/chats/{chat_id}/messages/16", {"content": "longer " * 30})
        chat = alice_ui.screen.client.state.chats[chat_id]
        await eventually(lambda: chat.messages[16].edited_at is not None)
        await alice_ui.pilot.pause(0.3)
        assert [line[24:74] for line in alice_ui.lines[2:18]] == before


async def test_similar_and_invalid_saved_accounts(live: Live, tmp_path: Path) -> None:
    """The same name on http and https, and an invalid URL: the login screen works."""
    (tmp_path / "accounts.json").write_text(
        '[{"url": "http://h", "username": "alice", "user_id": 1},'
        ' {"url": "https://h", "username": "alice", "user_id": 1},'
        ' {"url": "::bad::", "username": "alice", "user_id": 1}]'
    )
    async with terminal(tmp_path) as ui:
        await ui.sees("Password")


async def test_outbox_of_an_ended_program_is_sent(live: Live, tmp_path: Path) -> None:
    """Two programs have a file each. The next program sends the messages of both."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    accounts = SavedAccounts(tmp_path)
    async with terminal(tmp_path, alice):
        pass
    account = accounts.find()
    assert account is not None
    line = (
        f'{{"client_id": "left", "author_id": {alice.id}, "chat_id": {chat_id}, "content": "left behind"}}'
    )
    (accounts.folder_of(account) / "outbox1.jsonl").write_text(line)
    async with terminal(tmp_path, alice) as alice_ui:
        await alice_ui.sees("left behind", "✓")
    assert not (accounts.folder_of(account) / "outbox1.jsonl").exists()


async def test_full_disk(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app says so once, and continues."""
    alice = await live.person("alice")
    chat_id = await alice.group()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with terminal(tmp_path, alice) as alice_ui:
        monkeypatch.setattr("blazechat.terminal.drafts.write_file", full)
        monkeypatch.setattr("blazechat.terminal.accounts.write_file", full)
        await alice_ui.type("still ")
        await alice_ui.sees("Your draft cannot be saved")
        await alice_ui.enter("here")
        await alice_ui.enter("/theme light")
        await alice_ui.sees("This setting cannot be saved")
        assert [m["content"] for m in await alice.history(chat_id)] == ["still here"]


async def test_first_chat_created_by_another_user(live: Live, tmp_path: Path) -> None:
    """It opens if none was open, and each user sees the other's presence."""
    alice, bob = await live.people("alice", "bob")
    async with terminal(tmp_path / "a", alice) as alice_ui, terminal(tmp_path / "b", bob) as bob_ui:
        await bob_ui.sees("no chats yet")
        await alice_ui.enter(f"/dm @{bob.username}")
        await bob_ui.sees(f"@{alice.username} · online")
        await alice_ui.sees(f"@{bob.username} · online")
        await bob_ui.enter("Hello Alice")
        await alice_ui.sees("   Hello Alice")
