"""Slash commands: the receiver answers in the chat, to the caller alone, or later."""

import json
from typing import Any

from blazechat.client import Client, Notice
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, Person, eventually
from tests.webhooks.receiver import LOOPBACK, Receiver, Request, receiving
from tests.webhooks.test_fairness import execute


def response_of(answer: dict[str, Any] | str, status: int = 200) -> str:
    """A receiver's HTTP response, as JSON or as plain text."""
    body = answer if isinstance(answer, str) else json.dumps(answer)
    kind = "text/plain" if isinstance(answer, str) else "application/json"
    length = len(body.encode())
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"


async def create_command(
    person: Person, chat: int, receiver: Receiver, word: str = "/deploy"
) -> dict[str, Any]:
    wanted = {"word": word, "name": "Deploys", "url": receiver.url, "description": "Ship it"}
    answer = await person.post(f"/api/chats/{chat}/slash-commands", wanted)
    assert answer.status_code == 201, answer.text
    command: dict[str, Any] = answer.json()
    return command


async def run_command(person: Person, chat: int, text: str) -> dict[str, Any]:
    answer = await person.post(f"/api/chats/{chat}/commands", {"text": text})
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


async def test_receiver_answers_in_the_chat_or_to_the_caller(server: Live) -> None:
    """The signed request names caller and text; `response_type` decides who receives the answer."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    answers = {
        "now": response_of({"response_type": "in_channel", "text": "*Deployed* &amp; up"}),
        "quietly": response_of({"text": "Only you see this."}),
        "plainly": response_of("Plain text, for you alone."),
        "silently": response_of("", 200),
        "later": response_of("", 202),
    }

    def answer(request: Request) -> str:
        return answers[request.event["text"]]

    async with receiving(answer) as receiver, bob.online() as socket:
        command = await create_command(alice, chat, receiver)
        in_chat = await run_command(bob, chat, "/deploy now")
        assert in_chat["response_type"] == "in_channel"
        assert in_chat["message"]["content"] == "**Deployed** & up"
        assert in_chat["message"]["user"]["display_name"] == "Deploys"
        received = await socket.next(type="message.created")
        assert received["message"] == in_chat["message"]
        quiet = await run_command(bob, chat, "/DEPLOY\tquietly ")
        assert (quiet["response_type"], quiet["content"]) == ("ephemeral", "Only you see this.")
        assert (await run_command(bob, chat, "/deploy plainly"))["content"] == "Plain text, for you alone."
        for text in ("silently", "later"):
            assert (await run_command(bob, chat, f"/deploy {text}"))["response_type"] is None
        assert len(await alice.history(chat)) == 1
    request = receiver.requests[0].verify(command["secret"])
    assert request["user"] == {
        "id": bob.id,
        "username": bob.username,
        "display_name": bob.username,
    }
    assert (request["type"], request["chat_id"], request["command"], request["text"]) == (
        *("command", chat, "/deploy"),
        "now",
    )
    assert len({request.event_id for request in receiver.requests}) == 5


async def test_receiver_answers_later_by_the_response_url(server: Live) -> None:
    """In the chat, or as a `notice` to the caller alone; five times, and not after the caller has left."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    async with (
        receiving(lambda request: 202) as receiver,
        bob.online() as bob_socket,
        alice.online() as alice_socket,
    ):
        await create_command(alice, chat, receiver)
        await run_command(bob, chat, "/deploy")
        url = receiver.requests[0].event["response_url"]
        client = server.client()
        assert (await client.post(url, json={"text": "Half way."})).text == "ok"
        notice = await bob_socket.next(type="notice")
        assert (notice["chat_id"], notice["content"]) == (chat, "Half way.")
        assert notice["user"]["display_name"] == "Deploys"
        done = {"response_type": "in_channel", "text": "Done.", "username": "Robot"}
        assert (await client.post(url, json=done)).text == "ok"
        frames = [await alice_socket.next()]
        while frames[-1]["type"] != "message.created":
            frames.append(await alice_socket.next())
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
        await run_command(bob, chat, "/deploy")
        await bob.delete(f"/api/chats/{chat}/members/{bob.id}")
        url = receiver.requests[1].event["response_url"]
        assert (await client.post(url, json={"text": "The caller has left."})).status_code == 404
    for wrong in ("x", f"{chat}-x", "9" * 200, f"{2**80}-x"):
        assert (await client.post(f"/hooks/reply/{wrong}", json={"text": "x"})).status_code == 404


async def test_later_answers_may_be_forms_or_json(server: Live) -> None:
    """With a byte order mark, too. An unreadable answer does not count, but is rate limited."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving(lambda request: 202) as receiver:
        await create_command(alice, chat, receiver)
        await run_command(alice, chat, "/deploy\nproduction")
        assert receiver.requests[0].event["text"] == "production"
        url = receiver.requests[0].event["response_url"]
        client = server.client()
        stranger = await client.post(url[:-1], content=b"what is this")
        assert (stranger.status_code, stranger.text) == (404, "no_service"), "before the body is parsed"
        for_all = json.dumps({"response_type": "in_channel", "text": "For all."})
        form = await client.post(url, data={"payload": for_all})
        marked = await client.post(url, content=b"\xef\xbb\xbf" + for_all.encode())
        assert (form.text, marked.text) == ("ok", "ok")
        assert [message["content"] for message in await alice.history(chat)] == ["For all."] * 2
        spellings = [url.replace(f"/{chat}-", f"/{'0' * (number % 5)}{chat}-") for number in range(20)]
        answers = [await client.post(spelled, content=b"what is this") for spelled in spellings]
        assert [answer.status_code for answer in answers] == [400] * 18 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0


async def test_response_url_has_the_address_used_by_the_creator(new_server: NewServer) -> None:
    """Not the `Host` header of the caller's request. The setting `public_url` overrides both."""
    for settings, base in (
        ({}, None),
        ({"public_url": "https://chat.example.com/"}, "https://chat.example.com"),
    ):
        live = await new_server(**LOOPBACK, **settings)
        alice, bob = await live.people("alice", "bob")
        chat = await alice.group(bob)
        elsewhere = {"Host": "evil.example"}
        async with receiving(lambda request: 202) as receiver:
            await create_command(alice, chat, receiver)
            await bob.http.post(f"/api/chats/{chat}/commands", json={"text": "/deploy"}, headers=elsewhere)
            url = receiver.requests[0].event["response_url"]
        assert url.startswith(f"{base or live.url}/hooks/reply/")
        incoming = await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "x"})
        assert incoming.json()["url"].startswith(f"{base or live.url}/hooks/")


async def test_integration_users_are_deleted_with_their_chat(server: Live) -> None:
    """Accounts and sessions of its webhooks and commands end."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        command_user = (await create_command(alice, chat, receiver))["user_id"]
    incoming = (await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "x"})).json()
    assert (await alice.delete(f"/api/chats/{chat}")).status_code == 204
    assert (await server.client().post(incoming["url"], json={"text": "x"})).status_code == 404
    query = """SELECT u.id FROM users u LEFT JOIN sessions s ON s.user_id = u.id AND s.revoked_at IS NULL
        WHERE u.id = ANY ($1) AND (u.deleted_at IS NULL OR s.id IS NOT NULL)"""
    assert await execute(server, query, [command_user, incoming["user_id"]]) == []


async def test_failure_is_reported_to_the_caller_alone(server: Live) -> None:
    """No response, an invalid one, an error status; and an unknown command."""
    alice = await server.person()
    chat = await alice.group()
    wrong_responses: tuple[tuple[str | int, str], ...] = (
        (500, "answered 500"),
        (302, "answered 302"),
        (response_of('{"text"'), "read"),
    )
    async with receiving() as receiver:
        command = await create_command(alice, chat, receiver)
        for answer, words in wrong_responses:
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
    assert (await alice.delete(f"{path}/{command['id']}")).status_code == 204
    assert (await alice.get(path)).json() == []
    assert (await alice.post(f"/api/chats/{chat}/commands", {"text": "/deploy"})).status_code == 404
    assert await alice.history(chat) == []


async def test_commands_of_a_user_are_rate_limited(server: Live) -> None:
    """Because each command is a call to an external server."""
    alice = await server.person()
    chat = await alice.group()
    statuses = [
        (await alice.post(f"/api/chats/{chat}/commands", {"text": "/nonsense"})).status_code
        for _ in range(62)
    ]
    assert set(statuses[:60]) == {404}
    assert statuses[-1] == 429


async def test_words_are_unique_per_chat(server: Live) -> None:
    """All members see them; only the owner and admins see their URLs."""
    alice, bob = await server.people("alice", "bob")
    chat, other = await alice.group(bob), await alice.group()
    async with receiving() as receiver:
        command = await create_command(alice, chat, receiver)
        await create_command(alice, other, receiver)
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
        assert command["secret"].startswith("whsec_")


async def test_sdk_receives_the_notice(server: Live) -> None:
    """As the SDK's event `Notice`."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving(lambda request: 202) as receiver, Client(server.url) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.slash_commands.create(chat, "/deploy", receiver.url, name="Deploys")
        await client.connect()
        received = client.events()
        assert (await client.slash_commands.invoke(chat, "/deploy")).response_type is None
        await eventually(lambda: receiver.requests)
        url = receiver.requests[0].event["response_url"]
        await server.client().post(url, json={"text": "Half way."})
        async for event in received:
            if isinstance(event, Notice):
                assert (event.chat_id, event.content) == (chat, "Half way.")
                break
