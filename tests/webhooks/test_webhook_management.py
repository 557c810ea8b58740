"""Managing outgoing webhooks: log, secrets, pings, rate limits and validation."""

from collections.abc import Iterator

import asyncpg
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.harness import Live, eventually
from tests.webhooks.outgoing import create_webhook, path_of
from tests.webhooks.receiver import receiving


async def test_restarts_of_a_webhook_are_rate_limited(server: Live) -> None:
    """Enabling it, another URL, and redelivering all dead events count together."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
        for _ in range(5):
            assert (await alice.put(path, {"enabled": True})).status_code == 200
            assert (await alice.post(f"{path}/redeliver")).status_code == 202
        assert (await alice.put(path, {"enabled": True})).status_code == 429
        assert (await alice.put(path, {"url": f"{receiver.url}/elsewhere"})).status_code == 429
        assert (await alice.put(path, {"url": receiver.url})).status_code == 200
        assert (await alice.post(f"{path}/redeliver")).status_code == 429
        assert (await alice.put(path, {"enabled": False})).status_code == 200


async def test_delivery_log_has_request_and_responses(server: Live) -> None:
    """Request, response and duration of each try."""
    alice = await server.person()
    chat = await alice.group()
    head = "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n"
    answers: Iterator[int | str] = iter([f"{head}no\0pe", 200])
    async with receiving(lambda request: next(answers)) as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}/deliveries"
        message = await alice.say(chat, "hello")

        async def is_delivered() -> bool:
            found = (await alice.get(path)).json()
            return bool(found) and found[0]["state"] == "delivered"

        await eventually(is_delivered)
    (row,) = (await alice.get(path)).json()
    found = (await alice.get(f"{path}/{row['id']}")).json()
    assert found["request"]["url"] == receiver.url
    assert found["request"]["headers"]["webhook-id"] == receiver.requests[0].event_id
    assert '"content":"hello"' in found["request"]["body"]
    good, bad = found["attempts"]
    assert (good["number"], good["status"], good["error"]) == (2, 200, None)
    assert (bad["number"], bad["status"], bad["answer"]) == (1, 500, "no\ufffdpe")
    assert bad["seconds"] > 0
    assert bad["headers"] == {"content-type": "text/plain", "content-length": "5"}
    assert webhook["secret"] not in (await alice.get(f"{path}/{row['id']}")).text
    await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
    assert "hello" not in (await alice.get(f"{path}/{row['id']}")).text
    assert (await alice.get(f"{path}/{row['id'] + 1000}")).status_code == 404


async def test_old_and_new_secret_are_both_valid_after_a_rotation(server: Live) -> None:
    """Another secret never verifies, and neither does an old timestamp."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}"
        rotated = (await alice.post(f"{path}/secret")).json()
        assert rotated["secret"] not in (None, webhook["secret"])
        assert (await alice.get(path)).json()["secret"] is None
        await alice.say(chat, "x")
        await eventually(lambda: receiver.accepted)
    (request,) = receiver.requests
    assert request.verify(webhook["secret"]) == request.verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 44)
    request.headers["webhook-timestamp"] = str(int(request.headers["webhook-timestamp"]) - 600)
    with pytest.raises(WebhookVerificationError, match="too old"):
        request.verify(webhook["secret"])


async def test_ping_returns_its_result(server: Live) -> None:
    """Also if the receiver answers with an error, or does not exist."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
        answer = await alice.post(f"{path}/ping")
        assert (answer.status_code, answer.json()["status"]) == (200, 200)
        (request,) = receiver.requests
        assert request.verify(webhook["secret"]) == {"type": "ping", "webhook_id": webhook["id"]}
        receiver.answer = lambda request: 404
        assert (await alice.post(f"{path}/ping")).json()["status"] == 404
    await alice.put(path, {"url": "http://127.0.0.1:1/"})
    refused = (await alice.post(f"{path}/ping")).json()
    assert (refused["status"], "refused" in refused["error"]) == (None, True)
    pings = (await alice.get(f"{path}/deliveries")).json()
    assert [each["state"] for each in pings] == ["dead", "dead", "delivered"]
    assert all(each["finished_at"] for each in pings)
    assert (await alice.post(f"{path}/redeliver")).json() == {"count": 0}, "a ping is sent once"


async def test_private_addresses_are_not_called(live: Live) -> None:
    """Unless the operator allows them: no connection is made, and the ping's result says why."""
    alice = await live.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
        port = receiver.port
        for host in (
            "127.0.0.1",
            "2130706433",
            "[::ffff:127.0.0.1]",
            "localhost",
            "0.0.0.0",  # noqa: S104 (to be refused)
            "169.254.1.1",
        ):
            changed = await alice.put(path, {"url": f"http://{host}:{port}/"})
            if changed.status_code == 422:
                continue
            tried = (await alice.post(f"{path}/ping")).json()
            assert tried["status"] is None, host
            assert tried["error"], host
        assert not receiver.requests


async def test_invalid_webhooks_are_rejected(server: Live) -> None:
    """Invalid URLs, unknown types of events, more webhooks than the limits."""
    alice = await server.person()
    chat = await alice.group()
    for url in ("", "ftp://x.example", "http://", "http://a:b@x.example/", "javascript:1", "x" * 5000):
        answer = await alice.post(path_of(chat), {"url": url})
        assert answer.status_code == 422, url
    for events in ([], ["message.sent"], ["*"], "message.created"):
        answer = await alice.post(path_of(chat), {"url": "https://x.example/", "events": events})
        assert answer.status_code == 422, events
    for _ in range(50):
        await alice.post(path_of(chat), {"url": "https://x.example/"})
    full = await alice.post(path_of(chat), {"url": "https://x.example/"})
    assert (full.status_code, full.json()["code"]) == (409, "too_many_webhooks")
    other = await alice.group()
    connection = await asyncpg.connect(server.app.state.settings.database_url)
    await connection.execute(
        "INSERT INTO webhooks (chat_id, owner_id, url, events, secret, disabled_at)"
        " SELECT -n, $1, '', '{}', '', now() FROM generate_series(1, 450) n",
        alice.id,
    )
    full = await alice.post(path_of(other), {"url": "https://x.example/"})
    await connection.execute("DELETE FROM webhooks WHERE chat_id < 0")
    await connection.close()
    assert (full.status_code, full.json()["code"]) == (409, "too_many_webhooks")
