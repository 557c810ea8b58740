"""Slash commands: a program is asked, and answers in the chat, to the caller alone, or later."""

import json
from typing import Any

from blazechat.client import Client, Notice
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, Person, eventually
from tests.webhooks.receiver import LOOPBACK, Receiver, Request, receiving
from tests.webhooks.test_fairness import execute
from tests.webhooks.test_outgoing import server

__all__ = ["server"]  # a fixture


def says(answer: dict[str, Any] | str, status: int = 200) -> str:
    """An answer as programs give it, as JSON or as plain text."""
    body = answer if isinstance(answer, str) else json.dumps(answer)
    kind = "text/plain" if isinstance(answer, str) else "application/json"
    length = len(body.encode())
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"


async def command(person: Person, chat: int, receiver: Receiver, word: str = "/deploy") -> dict[str, Any]:
    wanted = {"word": word, "name": "Deploys", "url": receiver.url, "description": "Ship it"}
    answer = await person.post(f"/api/chats/{chat}/slash-commands", wanted)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def give(person: Person, chat: int, text: str) -> dict[str, Any]:
    answer = await person.post(f"/api/chats/{chat}/commands", {"text": text})
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


async def test_answers_in_the_chat_or_to_the_caller(server: Live) -> None:
    """The program is told who asks for what, signed; its answer is where it wants it."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    answers = {
        "now": says({"response_type": "in_channel", "text": "*Deployed* &amp; up"}),
        "quietly": says({"text": "Only you see this."}),
        "plainly": says("Nor does anybody else."),
        "silently": says("", 200),
        "later": says("", 202),
    }

    def answer(request: Request) -> str:
        return answers[request.event["text"]]

    async with receiving(answer) as receiver, bob.online() as socket:
        made = await command(alice, chat, receiver)
        in_chat = await give(bob, chat, "/deploy now")
        assert in_chat["response_type"] == "in_channel"
        assert in_chat["message"]["content"] == "*Deployed* & up"
        assert in_chat["message"]["user"]["display_name"] == "Deploys"
        heard = await socket.next(type="message.created")
        assert heard["message"] == in_chat["message"]
        quiet = await give(bob, chat, "/DEPLOY\tquietly ")
        assert (quiet["response_type"], quiet["content"]) == ("ephemeral", "Only you see this.")
        assert (await give(bob, chat, "/deploy plainly"))["content"] == "Nor does anybody else."
        for text in ("silently", "later"):
            assert (await give(bob, chat, f"/deploy {text}"))["response_type"] is None
        assert len(await alice.history(chat)) == 1
    told = receiver.requests[0].verify(made["secret"])
    assert told["user"] == {
        "id": bob.id,
        "username": bob.username,
        "display_name": bob.username,
    }
    assert (told["type"], told["chat_id"], told["command"], told["text"]) == (
        *("command", chat, "/deploy"),
        "now",
    )
    assert len({request.name for request in receiver.requests}) == 5


async def test_answers_later_by_the_response_url(server: Live) -> None:
    """In the chat, or as a notice that only the caller hears; five times, and not to who has left."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    async with receiving(lambda request: 202) as receiver, bob.online() as bobs, alice.online() as hers:
        await command(alice, chat, receiver)
        await give(bob, chat, "/deploy")
        url = receiver.requests[0].event["response_url"]
        client = server.client()
        assert (await client.post(url, json={"text": "Half way."})).text == "ok"
        notice = await bobs.next(type="notice")
        assert (notice["chat_id"], notice["content"]) == (chat, "Half way.")
        assert notice["user"]["display_name"] == "Deploys"
        done = {"response_type": "in_channel", "text": "Done.", "username": "Robot"}
        assert (await client.post(url, json=done)).text == "ok"
        frames = [await hers.next()]
        while frames[-1]["type"] != "message.created":
            frames.append(await hers.next())
        assert "notice" not in {each["type"] for each in frames}
        frame = frames[-1]
        assert frame["message"]["content"] == "Done."
        assert frame["message"]["user"]["display_name"] == "Robot"
        refused = await client.post(url, json={})
        assert (refused.status_code, refused.text) == (400, "no_text")
        for _ in range(3):
            assert (await client.post(url, json={"text": "More."})).status_code == 200
        over = await client.post(url, json={"text": "Too much."})
        assert (over.status_code, over.text) == (404, "no_service")
        await give(bob, chat, "/deploy")
        await bob.delete(f"/api/chats/{chat}/members/{bob.id}")
        url = receiver.requests[1].event["response_url"]
        assert (await client.post(url, json={"text": "For nobody."})).status_code == 404
    for wrong in ("x", f"{chat}-x", "9" * 200, f"{2**80}-x"):
        assert (await client.post(f"/hooks/reply/{wrong}", json={"text": "x"})).status_code == 404


async def test_later_answers_in_any_form(server: Live) -> None:
    """As a form and with a byte order mark, too; what cannot be read does not count, but has its pace."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving(lambda request: 202) as receiver:
        await command(alice, chat, receiver)
        await give(alice, chat, "/deploy\nproduction")
        assert receiver.requests[0].event["text"] == "production"
        url = receiver.requests[0].event["response_url"]
        client = server.client()
        stranger = await client.post(url[:-1], content=b"what is this")
        assert (stranger.status_code, stranger.text) == (404, "no_service"), "before it is looked at"
        for_all = json.dumps({"response_type": "in_channel", "text": "For all."})
        form = await client.post(url, data={"payload": for_all})
        marked = await client.post(url, content=b"\xef\xbb\xbf" + for_all.encode())
        assert (form.text, marked.text) == ("ok", "ok")
        assert [said["content"] for said in await alice.history(chat)] == ["For all."] * 2
        spellings = [url.replace(f"/{chat}-", f"/{'0' * (number % 5)}{chat}-") for number in range(20)]
        answers = [await client.post(spelled, content=b"what is this") for spelled in spellings]
        assert [answer.status_code for answer in answers] == [400] * 18 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0


async def test_later_answers_go_where_whoever_made_the_command_says(new_server: NewServer) -> None:
    """Not to where somebody who gives it says that this server is; a setting decides for all."""
    for settings, base in (
        ({}, None),
        ({"public_url": "https://chat.example.com/"}, "https://chat.example.com"),
    ):
        live = await new_server(**LOOPBACK, **settings)
        alice, bob = await live.people("alice", "bob")
        chat = await alice.group(bob)
        elsewhere = {"Host": "evil.example"}
        async with receiving(lambda request: 202) as receiver:
            await command(alice, chat, receiver)
            await bob.http.post(f"/api/chats/{chat}/commands", json={"text": "/deploy"}, headers=elsewhere)
            url = receiver.requests[0].event["response_url"]
        assert url.startswith(f"{base or live.url}/hooks/reply/")
        made = await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "x"})
        assert made.json()["url"].startswith(f"{base or live.url}/hooks/")


async def test_those_who_spoke_in_a_chat_go_with_it(server: Live) -> None:
    """Accounts and sessions of webhooks and commands are of no use without it."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        speaker = (await command(alice, chat, receiver))["user_id"]
    made = (await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "x"})).json()
    assert (await alice.delete(f"/api/chats/{chat}")).status_code == 204
    assert (await server.client().post(made["url"], json={"text": "x"})).status_code == 404
    left = """SELECT u.id FROM users u LEFT JOIN sessions s ON s.user_id = u.id AND s.revoked_at IS NULL
        WHERE u.id = ANY ($1) AND (u.deleted_at IS NULL OR s.id IS NOT NULL)"""
    assert await execute(server, left, [speaker, made["user_id"]]) == []


async def test_what_fails_is_said_to_the_caller_alone(server: Live) -> None:
    """No answer, a bad one, a refusal; and no such command."""
    alice = await server.person()
    chat = await alice.group()
    wrong: tuple[tuple[str | int, str], ...] = (
        (500, "answered 500"),
        (302, "answered 302"),
        (says('{"text"'), "read"),
    )
    async with receiving() as receiver:
        made = await command(alice, chat, receiver)
        for answer, words in wrong:
            receiver.answer = lambda request, answer=answer: answer  # type: ignore[misc]
            failed = await alice.post(f"/api/chats/{chat}/commands", {"text": "/deploy"})
            assert (failed.status_code, failed.json()["code"]) == (502, "command_failed")
            assert words in failed.json()["detail"]
    gone = await alice.post(f"/api/chats/{chat}/commands", {"text": "/deploy"})
    assert "refused the connection" in gone.json()["detail"]
    for text in ("/nonsense", "deploy"):
        unknown = await alice.post(f"/api/chats/{chat}/commands", {"text": text})
        assert unknown.status_code == 404
    path = f"/api/chats/{chat}/slash-commands"
    assert (await alice.delete(f"{path}/{made['id']}")).status_code == 204
    assert (await alice.get(path)).json() == []
    assert (await alice.post(f"/api/chats/{chat}/commands", {"text": "/deploy"})).status_code == 404
    assert await alice.history(chat) == []


async def test_whoever_gives_too_many_waits(server: Live) -> None:
    """Each user by themselves: each command is a call to somebody else's server."""
    alice = await server.person()
    chat = await alice.group()
    statuses = [
        (await alice.post(f"/api/chats/{chat}/commands", {"text": "/nonsense"})).status_code
        for _ in range(62)
    ]
    assert set(statuses[:60]) == {404}
    assert statuses[-1] == 429


async def test_words_are_the_chats_own(server: Live) -> None:
    """Each once in a chat; members see them, only who may change them sees where they lead."""
    alice, bob = await server.people("alice", "bob")
    chat, other = await alice.group(bob), await alice.group()
    async with receiving() as receiver:
        made = await command(alice, chat, receiver)
        await command(alice, other, receiver)
        wanted = {"name": "x", "url": receiver.url}
        taken = await alice.post(f"/api/chats/{chat}/slash-commands", wanted | {"word": "/deploy"})
        assert (taken.status_code, taken.json()["code"]) == (409, "word_taken")
        for word in ("deploy", "/", "/a b", "/Ä", "/" + "x" * 33, "//x"):
            answer = await alice.post(f"/api/chats/{chat}/slash-commands", wanted | {"word": word})
            assert answer.status_code == 422, word
        direct = await alice.direct(bob)
        answer = await alice.post(f"/api/chats/{direct}/slash-commands", wanted | {"word": "/x"})
        assert answer.status_code == 409
        (mine,) = (await alice.get(f"/api/chats/{chat}/slash-commands")).json()
        (his,) = (await bob.get(f"/api/chats/{chat}/slash-commands")).json()
        assert (mine["url"], mine["secret"], his["url"]) == (receiver.url, None, None)
        assert made["secret"].startswith("whsec_")


async def test_notice_reaches_a_program(server: Live) -> None:
    """As an event of the SDK."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving(lambda request: 202) as receiver, Client(server.url) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.slash_commands.create(chat, "/deploy", receiver.url, name="Deploys")
        await client.connect()
        heard = client.events()
        assert (await client.slash_commands.give(chat, "/deploy")).response_type is None
        await eventually(lambda: receiver.requests)
        url = receiver.requests[0].event["response_url"]
        await server.client().post(url, json={"text": "Half way."})
        async for event in heard:
            if isinstance(event, Notice):
                assert (event.chat_id, event.content) == (chat, "Half way.")
                break
