"""Chatting in the terminal: what one sees and does, key by key, on a live server."""

import asyncio
from pathlib import Path

import pytest
from textual.events import Paste

from blazechat.client import Client
from blazechat.terminal.accounts import Accounts
from blazechat.terminal.screens.login import LoginScreen
from tests.clients.screens import Terminal, terminal
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, eventually
from tests.webhooks.receiver import LOOPBACK, receiving


async def test_conversation_of_two(live: Live, tmp_path: Path) -> None:
    """Both see what both say, who writes, and what was read."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    async with terminal(tmp_path / "a", alice) as hers, terminal(tmp_path / "b", bob) as his:
        await hers.open(bob.username)
        await his.open(alice.username)
        await hers.type("Hello")
        await his.sees(f"{alice.username} is typing")
        await hers.say(" Bob!")
        await his.sees("   Hello Bob!")
        await hers.sees("Hello Bob!", f"Read by {bob.username}", "✓✓")
        await his.say("Hello yourself")
        await hers.sees("   Hello yourself")
        assert hers.screen.composer.text == ""


async def test_messages_are_edited_deleted_answered_and_reacted_to_by_keys(
    live: Live, tmp_path: Path
) -> None:
    """Each from the message that is chosen."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "first")
    await bob.say(chat_id, "second")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("first", "second")
        await hers.press("escape", "up", "e")
        await hers.sees("Editing: first")
        await hers.say(" edited")
        await hers.sees("first edited (edited)")
        await hers.sees_no("Editing:")
        await hers.press("escape", "down", "r")
        await hers.sees("Replying to", ": second")
        await hers.say("third")
        await hers.sees("┌ " + bob.username + ": second", "   third")
        await hers.say("/react :tada:")
        await hers.sees("🎉 1")
        await hers.say("/unreact tada")
        await hers.sees_no("🎉 1")
        await hers.say("/pin")
        await hers.sees("pinned")
        await hers.say("/delete")
        await hers.sees("Delete “third”?")
        await hers.press("n")
        await hers.say("/delete")
        await hers.sees("Delete “third”?")
        await hers.press("y")
        await hers.sees("message deleted")
        assert [m["content"] for m in await alice.history(chat_id)] == ["", "second", "first edited"]


async def test_groups_are_made_and_run_by_commands(live: Live, tmp_path: Path) -> None:
    """Made, filled, renamed, listed, left; wrong use is told, and what was typed comes back."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("no chats yet", "Start with /dm")
        await hers.say(f"/group Our Team @{bob.username}")
        await hers.sees("Our Team  2 members")
        await hers.say(f"/add @{carol.username}")
        await hers.sees("3 members")
        await hers.say("/rename Their Team")
        await hers.sees("Their Team  3 members")
        await hers.say(f"/role @{bob.username} admin")
        await hers.say("/members")
        await hers.sees("3 in Their Team", f"{bob.username}  @{bob.username}  admin", "owner")
        await hers.press("escape")
        await hers.say("/role nobody")
        await hers.sees("Usage: /role @user owner|admin|member")
        await eventually(lambda: hers.screen.composer.text == "/role nobody")
        hers.screen.composer.set_text("")
        await hers.say("/nonsense")
        await hers.sees("There is no command /nonsense")
        assert hers.screen.composer.text == "/nonsense"
        hers.screen.composer.set_text("")
        await hers.say(f"/remove @{carol.username}")
        await hers.sees("Remove carol")
        await hers.press("y")
        await hers.sees("2 members")
        await hers.say("/leave")
        await hers.sees("Leave Their Team?")
        await hers.press("y")
        await hers.sees("You are no longer a member of this chat.")


async def test_commands_of_the_chat_are_given_by_typing_them(new_server: NewServer, tmp_path: Path) -> None:
    """Their answers are shown: in the chat, or to oneself for a while, at once or later."""
    live = await new_server(**LOOPBACK)
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with receiving() as receiver, terminal(tmp_path, alice) as hers:
        wanted = {"word": "/deploy", "name": "Deploys", "url": receiver.url}
        assert (await alice.post(f"/api/chats/{chat_id}/slash-commands", wanted)).status_code == 201
        body = '{"text": "Two are running:\\n- one\\n- another"}'
        receiver.answer = lambda request: f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        await hers.say("/deploy --list")
        await hers.sees("/deploy (only you see this)\nTwo are running:", "- another")
        assert receiver.requests[0].event["text"] == "--list"
        await live.client().post(
            receiver.requests[0].event["response_url"], json={"text": "And a third by now."}
        )
        await hers.sees("Deploys (only you see this)\nAnd a third by now.")
        receiver.answer = lambda request: 500
        await hers.say("/deploy now")
        await hers.sees("its receiver answered 500")
        await eventually(lambda: hers.screen.composer.text == "/deploy now")


async def test_older_messages_come_without_a_jump(live: Live, tmp_path: Path) -> None:
    """The line that one reads stays where it is while pages come above it, down to the first message."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    for number in range(1, 181):
        await alice.say(chat_id, f"number {number}" + " and more" * (number % 20))
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("number 180")
        await hers.press("pageup", "pageup")
        conversation = hers.screen.message_list
        while not conversation.chat or not conversation.chat.has_all_messages:
            loaded = len(conversation._message_layout.ids)
            conversation.scroll_to(y=3, animate=False, immediate=True, force=True)
            await hers.pilot.pause()
            before = hers.lines[5:15]
            await eventually(lambda n=loaded: len(conversation._message_layout.ids) > n)
            await hers.pilot.pause(0.1)
            assert hers.lines[5:15] == before
        await hers.press("escape", "home")
        await hers.sees("the beginning of this chat", "   number 1")
        await hers.press("escape", "ctrl+end")
        await hers.sees("number 180")


async def test_new_messages_do_not_move_who_reads_further_up(live: Live, tmp_path: Path) -> None:
    """They are counted below; Ctrl+End goes there, and then they are read."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(40):
        await bob.say(chat_id, f"old {number}")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("new messages", "old 0")  # from where it is unread
        await hers.press("ctrl+end")
        await hers.sees("old 39")
        await eventually(lambda: hers.screen.chat is not None and not hers.screen.chat.unread)
        await hers.press("pageup")
        await hers.pilot.pause()
        before = [line[24:78] for line in hers.lines[2:18]]
        await bob.say(chat_id, "news")
        await hers.sees("↓ 1 new (Ctrl+End)")
        assert [line[24:78] for line in hers.lines[2:18]] == before
        assert (await alice.get(f"/api/chats/{chat_id}")).json()["unread"] == 1
        await hers.press("ctrl+end")
        await hers.sees("news")

        async def is_read() -> bool:
            unread: int = (await alice.get(f"/api/chats/{chat_id}")).json()["unread"]
            return unread == 0

        await eventually(is_read)


async def test_what_was_begun_stays_in_its_chat(live: Live, tmp_path: Path) -> None:
    """Through other chats, and through the end of the program."""
    alice, bob = await live.people("alice", "bob")
    await alice.direct(bob)
    await alice.group(name="Builders")
    async with terminal(tmp_path, alice) as hers:
        await hers.open("Builders")
        await hers.type("for the builders")
        await hers.press("ctrl+down")
        assert hers.screen.composer.text == ""
        await hers.type("for bob")
        await hers.press("ctrl+q")
    async with terminal(tmp_path, alice) as hers:
        await hers.open(bob.username)
        assert hers.screen.composer.text == "for bob"
        await hers.open("Builders")
        assert hers.screen.composer.text == "for the builders"


async def test_message_that_is_too_long_stays_in_the_composer(live: Live, tmp_path: Path) -> None:
    """Pasted whole, with a count; nothing is sent before it is short enough."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with terminal(tmp_path, alice) as hers:
        hers.screen.composer.insert("x" * 10_001)
        await hers.sees("10,001 of 10,000 characters")
        await hers.press("enter")
        await hers.sees("A message has at most 10,000 characters; this has 10,001.")
        assert len(hers.screen.composer.text) == 10_001
        await hers.press("backspace", "enter")
        await hers.sees("✓")
        assert [len(m["content"]) for m in await alice.history(chat_id)] == [10_000]


async def test_lines_history_and_completion(live: Live, tmp_path: Path) -> None:
    """Several lines, what was sent before, names, emoji, commands; two slashes send one."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with terminal(tmp_path, alice) as hers:
        await hers.type("one")
        await hers.press("alt+enter")
        await hers.type("two")
        await hers.press("ctrl+j")
        await hers.say("three")
        await hers.sees("   one", "   two", "   three")
        await hers.say(f"hey @{bob.username[:3]}")  # Enter completes first
        await hers.press("enter")
        await hers.say("fine :+1: and 10:30:00")
        await hers.sees("fine 👍 and 10:30:00")
        await hers.type("/mem")
        await hers.sees("/members   list the members of this chat")
        await hers.press("escape")
        hers.screen.composer.set_text("")
        await hers.press("up")
        assert hers.screen.composer.text == "fine 👍 and 10:30:00"
        await hers.press("up", "down", "down")
        assert hers.screen.composer.text == ""
        await hers.say("//etc/passwd")
        await hers.sees("   /etc/passwd")
        said = [message["content"] for message in await alice.history(chat_id)]
        assert said == ["/etc/passwd", "fine 👍 and 10:30:00", f"hey @{bob.username} ", "one\ntwo\nthree"]


async def test_removed_while_one_writes(live: Live, tmp_path: Path) -> None:
    """One is told, can read on, and what was written is kept; so too where the chat is deleted."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Secret club")
    await bob.say(chat_id, "who is this")
    other = await bob.direct(alice)
    async with terminal(tmp_path, alice) as hers:
        await hers.open("Secret")
        await hers.sees("who is this")
        await hers.type("it is me")
        await bob.delete(f"/api/chats/{chat_id}/members/{alice.id}")
        await hers.sees("You are no longer a member of this chat.", "who is this", "it is me")
        await hers.press("enter")
        await hers.sees("Your text is still in the composer.")
        assert hers.screen.composer.text == "it is me"
        await hers.open(bob.username)
        await hers.type("hello")
        await bob.delete(f"/api/chats/{other}")
        await hers.sees("This chat was deleted, or you are no longer a member of it.")
        assert hers.screen.composer.text == "hello"


async def test_session_that_was_ended_elsewhere(live: Live, tmp_path: Path) -> None:
    """Leads to the log-in with a sentence; after it, what was begun is there."""
    alice = await live.person("alice")
    await alice.group(name="Team")
    async with terminal(tmp_path, alice) as hers:
        await hers.open("Team")
        await hers.type("half a sen")
        await alice.post("/api/auth/logout-all")
        await hers.sees("Your session has ended or has expired; log in again.")
        assert isinstance(hers.app.screen, LoginScreen)
        await hers.type(PASSWORD)
        await hers.press("enter")
        await hers.is_online()
        await hers.sees("Team")
        await eventually(lambda: hers.screen.composer.text == "half a sen")


async def test_logging_in_and_what_can_go_wrong_with_it(live: Live, tmp_path: Path) -> None:
    """A wrong address, nobody there, somebody else there, a wrong password; then in."""
    alice = await live.person("alice")

    async def fill(shown: Terminal, **values: str) -> None:
        for field, value in values.items():
            shown.app.screen.query_one(f"#{field}").value = value  # type: ignore[attr-defined]

    async def not_chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        writer.close()

    listener = await asyncio.start_server(not_chat, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with terminal(tmp_path) as shown, listener:
        await fill(shown, url="ftp://example.com", username=alice.username, password="wrong")
        await shown.press("enter")
        await shown.sees("begins with http:// or https://")
        await fill(shown, url="127.0.0.1:1")
        await shown.press("enter")
        await shown.sees("cannot be reached")
        await fill(shown, url=f"127.0.0.1:{port}")
        await shown.press("enter")
        await shown.sees("does not answer as a")
        await fill(shown, url=live.url)
        await shown.press("enter")
        await shown.sees("The user name or password is wrong.")
        assert shown.app.screen.query_one("#username").value == alice.username  # type: ignore[attr-defined]
        await fill(shown, password=PASSWORD)
        await shown.press("enter")
        await shown.is_online()
    assert [account.username for account in Accounts(tmp_path).all()] == [alice.username]
    async with terminal(tmp_path) as shown:
        await shown.is_online()  # by itself, the second time
        await shown.say("/logout")
        await shown.sees("Log out on this machine?")
        await shown.press("y")
        await shown.sees("Username")
    assert Accounts(tmp_path).all() == []


async def test_making_an_account_and_changing_between_two(new_server: NewServer, tmp_path: Path) -> None:
    """What the server finds wrong is told at its field, and nothing typed is lost."""
    live = await new_server()
    async with terminal(tmp_path, url=live.url) as shown:
        await shown.press("ctrl+n")
        await shown.sees("E-mail address")
        for value in ("ali ce", "alice@example.com", PASSWORD):
            await shown.type(value.replace("@", "@"))
            await shown.press("enter")
        await shown.sees("A user name has 1 to 50 letters")
        shown.app.screen.query_one("#username").value = "alice"  # type: ignore[attr-defined]
        await shown.press("enter")
        await shown.is_online()
        await live.person("bob")
        await shown.say("/accounts")
        await shown.sees("Continue as alice@127.0.0.1")
        shown.app.screen.query_one("#username").value = "bob1"  # type: ignore[attr-defined]
    assert [account.username for account in Accounts(tmp_path).all()] == ["alice"]


async def test_mentions_call_only_who_looks_elsewhere(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bell for direct messages and one's name, if it is switched on and the terminal is out of focus."""
    alice, bob = await live.people("alice", "bob")
    group = await bob.group(alice)
    direct = await bob.direct(alice)
    rung: list[int] = []
    async with terminal(tmp_path, alice) as hers:
        monkeypatch.setattr(hers.app, "bell", lambda: rung.append(1))

        async def hears(chat_id: int, content: str) -> int:
            rung.clear()
            message = await bob.say(chat_id, content)
            state = hers.screen.client.state
            await eventually(lambda: state.chats[chat_id].last_message_id >= message["id"])
            await hers.pilot.pause(0.1)
            return len(rung)

        from textual.events import AppBlur, AppFocus

        assert await hears(direct, "while she looks") == 0
        hers.app.post_message(AppBlur())
        await hers.pilot.pause(0.1)
        assert await hears(direct, "while she does not") == 1
        assert await hears(group, "to nobody") == 0
        assert await hears(group, f"@{alice.username}: come!") == 1
        await hers.say("/notify off")
        await hers.pilot.pause(0.1)
        hers.app.post_message(AppBlur())
        await hers.pilot.pause(0.1)
        assert await hears(direct, "quiet") == 0
        hers.app.post_message(AppFocus())
    assert not Accounts(tmp_path).preferences().notify


async def test_sdk_and_app_agree_on_what_is_told(live: Live, tmp_path: Path) -> None:
    """Names and members as they change elsewhere."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, name="Before")
    async with terminal(tmp_path, alice) as hers, Client(live.url) as other:
        await other.log_in(bob.username, PASSWORD)
        await hers.sees("Before  2 members")
        await other.chats.update(chat_id, name="After")
        await hers.sees("After  2 members")
        await other.chats.remove_member(chat_id, bob.id)
        await hers.sees("After  1 member")


ESCAPES = "evil \x1b]0;PWNED\x07 \x9b31m \u202e"


async def test_nothing_that_comes_from_elsewhere_steers_the_terminal(live: Live, tmp_path: Path) -> None:
    """Not in messages, quotes, banners, the list, the composer, fields that are pasted into, or toasts."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, ESCAPES)
    mine = await alice.say(chat_id, ESCAPES, reply_to=1)
    async with terminal(tmp_path, alice) as hers:

        def check() -> None:
            for line in hers.lines:
                assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in line), line

        await hers.sees("evil ␛]0;PWNED␇ ‹9B›31m ‹RLO›")
        check()
        await hers.press("escape", "up", "r")
        await hers.sees("Replying to")
        check()
        await hers.press("escape", "escape", "end", "e")
        await hers.sees("Editing")
        check()
        await hers.press("escape")
        hers.screen.composer.post_message(Paste(ESCAPES + "\r\nsecond"))
        await hers.sees("second")
        check()
        hers.screen.composer.set_text("")
        await hers.press("ctrl+k")
        hers.app.screen.focused.post_message(Paste(ESCAPES))  # type: ignore[union-attr]
        await hers.sees("evil ]0;PWNED")
        check()
        await hers.press("escape")
        hers.screen.show_toast(f"[red]{ESCAPES}[/red]")
        await hers.pilot.pause(0.1)
        assert hers.told[-1].startswith("[red]evil ␛]0;PWNED␇")
        assert mine["id"] == 2


async def test_text_that_looks_like_a_command_stays_text(live: Live, tmp_path: Path) -> None:
    """While one edits, and when it is recalled."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    await alice.say(chat_id, "/quit")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("/quit")
        await hers.press("escape", "e")
        await hers.sees("Editing: /quit")
        await hers.say("!")
        await hers.sees("/quit! (edited)")
        await hers.say("//help me")
        await hers.sees("   /help me")
        await hers.press("up", "enter")
        await eventually(lambda: hers.screen.chat is not None and hers.screen.chat.last_message_id == 3)
        assert [m["content"] for m in await alice.history(chat_id)] == ["/help me", "/help me", "/quit!"]


async def test_what_one_has_begun_is_not_written_over(live: Live, tmp_path: Path) -> None:
    """By reactions, commands of the palette, replies during an edit, or another chat during one."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.group(name="Other")
    await bob.say(chat_id, "theirs")
    await alice.say(chat_id, "mine")
    async with terminal(tmp_path, alice) as hers:
        await hers.open(bob.username)
        await hers.type("my draft")
        await hers.press("escape", "plus")
        await hers.sees("React with")
        await hers.say(":tada:")
        await hers.sees("🎉 1")
        assert hers.screen.composer.text == "my draft"
        await hers.press("escape", "e")
        await hers.sees("Editing: mine")
        await hers.type(" edited")
        await hers.press("ctrl+down")
        await hers.sees("Save your edit first")
        assert hers.screen.composer.text == "mine edited"
        hers.screen.entry.reply(hers.screen.chat.messages[1])  # type: ignore[union-attr]
        await hers.sees("Replying to")
        assert hers.screen.composer.text == "my draft"


async def test_only_what_was_seen_is_marked_read(live: Live, tmp_path: Path) -> None:
    """Not what comes while one has selected something further up and back."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(40):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("number 39")
        await hers.press("escape", *["up"] * 25, *["down"] * 30)
        await hers.pilot.pause(0.2)
        await bob.say(chat_id, "seen")
        await hers.sees("   seen")

        async def is_read() -> bool:
            unread: int = (await alice.get(f"/api/chats/{chat_id}")).json()["unread"]
            return unread == 0

        await eventually(is_read)


async def test_deleted_messages_leave_their_quotes(live: Live, tmp_path: Path) -> None:
    """And new names come into headings at once."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, "secret thing")
    await bob.say(chat_id, "answer", reply_to=1)
    async with terminal(tmp_path, alice) as hers:
        await hers.sees(f"┌ {bob.username}: secret thing")
        await bob.delete(f"/api/chats/{chat_id}/messages/1")
        await hers.sees("┌ deleted message")
        await bob.put(f"/api/users/{bob.id}", {"display_name": "Robert"})
        await hers.sees(" Robert  ", "● Robert" if "●" in hers.lines[2] else "○ Robert")


async def test_older_messages_in_a_tall_terminal(live: Live, tmp_path: Path) -> None:
    """Come by themselves, where the first page does not fill it."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    for number in range(120):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice, size=(120, 100)) as hers:
        await hers.sees("number 119", "number 40")
        conversation = hers.screen.message_list
        await hers.press("pageup", "pageup")
        await hers.sees("the beginning of this chat", "number 0")
        assert len(conversation._message_layout.ids) == 120


async def test_reactions_above_do_not_move_what_one_reads(live: Live, tmp_path: Path) -> None:
    """Nor do edits that make a message longer."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(60):
        await alice.say(chat_id, f"number {number}")
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("number 59")
        await hers.press("pageup")
        await hers.pilot.pause(0.1)
        before = [line[24:74] for line in hers.lines[2:18]]
        await bob.put(f"/api/chats/{chat_id}/messages/15/reactions/🎉")
        await alice.put(f"/api/chats/{chat_id}/messages/16", {"content": "longer " * 30})
        chat = hers.screen.client.state.chats[chat_id]
        await eventually(lambda: chat.messages[16].edited_at is not None)
        await hers.pilot.pause(0.3)
        assert [line[24:74] for line in hers.lines[2:18]] == before


async def test_accounts_that_are_hard_to_tell_apart(live: Live, tmp_path: Path) -> None:
    """The same name on http and https, addresses that are none: one can still log in."""
    (tmp_path / "accounts.json").write_text(
        '[{"url": "http://h", "username": "alice", "user_id": 1},'
        ' {"url": "https://h", "username": "alice", "user_id": 1},'
        ' {"url": "::bad::", "username": "alice", "user_id": 1}]'
    )
    async with terminal(tmp_path) as shown:
        await shown.sees("Password")


async def test_what_another_program_left_is_sent(live: Live, tmp_path: Path) -> None:
    """Two apps have a file each; the next one takes up both."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    accounts = Accounts(tmp_path)
    async with terminal(tmp_path, alice):
        pass
    account = accounts.find()
    assert account is not None
    line = (
        f'{{"client_id": "left", "author_id": {alice.id}, "chat_id": {chat_id}, "content": "left behind"}}'
    )
    (accounts.folder_of(account) / "outbox1.jsonl").write_text(line)
    async with terminal(tmp_path, alice) as hers:
        await hers.sees("left behind", "✓")
    assert not (accounts.folder_of(account) / "outbox1.jsonl").exists()


async def test_disk_that_is_full(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told once, and chatting goes on."""
    alice = await live.person("alice")
    chat_id = await alice.group()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with terminal(tmp_path, alice) as hers:
        monkeypatch.setattr("blazechat.terminal.drafts.write_file", full)
        monkeypatch.setattr("blazechat.terminal.accounts.write_file", full)
        await hers.type("still ")
        await hers.sees("Your draft cannot be saved")
        await hers.say("here")
        await hers.say("/theme light")
        await hers.sees("This setting cannot be saved")
        assert [m["content"] for m in await alice.history(chat_id)] == ["still here"]


async def test_first_chat_that_somebody_else_begins(live: Live, tmp_path: Path) -> None:
    """Opens by itself where none was open, and both see that the other is there."""
    alice, bob = await live.people("alice", "bob")
    async with terminal(tmp_path / "a", alice) as hers, terminal(tmp_path / "b", bob) as his:
        await his.sees("no chats yet")
        await hers.say(f"/dm @{bob.username}")
        await his.sees(f"@{alice.username} · online")
        await hers.sees(f"@{bob.username} · online")
        await his.say("Hello Alice")
        await hers.sees("   Hello Alice")
