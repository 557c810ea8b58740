"""Incoming webhooks: third-party libraries post unchanged, and errors are answered with Slack's words."""

import asyncio
import json
import logging
from typing import Any

import apprise
import pytest
from slack_sdk.models.blocks import HeaderBlock, SectionBlock
from slack_sdk.webhook import WebhookClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tests.conftest import NewServer
from tests.harness import Live, Person
from tests.webhooks import sample_payloads


async def _create_webhook(person: Person, chat_id: int, name: str = "Grafana") -> dict[str, Any]:
    answer = await person.post(f"/api/chats/{chat_id}/incoming-webhooks", {"name": name})
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


@pytest.fixture
async def alice(live: Live) -> Person:
    return await live.person("alice")


@pytest.fixture
async def chat(alice: Person) -> int:
    return await alice.group()


async def test_slack_sdk_can_post(alice: Person, chat: int) -> None:
    """Its blocking and its asynchronous client, unchanged: text, blocks, a name and an icon."""
    url = (await _create_webhook(alice, chat))["url"]
    client = WebhookClient(url)
    sent = await asyncio.to_thread(client.send, text="<https://example.com|Build> *failed* &amp; burning")
    assert (sent.status_code, sent.body) == (200, "ok")
    blocks = [HeaderBlock(text="Deployed"), SectionBlock(text="to *production*")]
    later = await AsyncWebhookClient(url).send(text="fallback", blocks=blocks)
    assert (later.status_code, later.body) == (200, "ok")
    disguised = {"text": "hi", "username": "Deploys", "icon_url": "https://example.com/i.png"}
    assert (await asyncio.to_thread(client.send_dict, disguised)).body == "ok"
    third, second, first = await alice.history(chat)
    assert first["content"] == "[Build](https://example.com) **failed** & burning"
    assert first["user"]["display_name"] == "Grafana"
    assert "icon_url" not in first["user"]
    assert "Deployed" in second["content"]
    assert "**production**" in second["content"]
    assert third["user"]["display_name"] == "Deploys"
    assert third["user"]["icon_url"] == "https://example.com/i.png"
    refused = await asyncio.to_thread(client.send, text="")
    assert (refused.status_code, refused.body) == (400, "no_text")


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # raised in apprise on Python 3.11
async def test_apprise_can_post(live: Live, alice: Person, chat: int) -> None:
    """Unchanged, as to a Mattermost server."""
    token = (await _create_webhook(alice, chat))["url"].rpartition("/")[2]
    host = live.url.removeprefix("http://")
    notifier = apprise.Apprise()
    assert notifier.add(f"mmost://Backups@{host}/{token}?image=no")
    assert await notifier.async_notify(title="Nightly backup", body="took 3 minutes")
    (message,) = await alice.history(chat)
    assert "Nightly backup" in message["content"]
    assert "took 3 minutes" in message["content"]
    assert message["user"]["display_name"] == "Backups"


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # raised in apprise on Python 3.11
@pytest.mark.parametrize("scheme", ["json", "form"])
async def test_apprise_can_post_its_own_formats(live: Live, alice: Person, chat: int, scheme: str) -> None:
    """`json://` and `form://`, unchanged and without a template: the title in bold above the message."""
    url = (await _create_webhook(alice, chat))["url"]
    notifier = apprise.Apprise()
    assert notifier.add(url.replace("http://", f"{scheme}://"))
    assert await notifier.async_notify(title="Nightly backup", body="took 3 minutes")
    assert await notifier.async_notify(body="Only a body: 100 % & more")
    second, first = await alice.history(chat)
    assert first["content"] == "**Nightly backup**\ntook 3 minutes"
    assert second["content"] == "Only a body: 100 % & more"
    assert first["user"]["display_name"] == "Grafana"


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
async def test_xml_of_apprise_is_refused(live: Live, alice: Person, chat: int) -> None:
    """The docs name it as not accepted."""
    url = (await _create_webhook(alice, chat))["url"]
    notifier = apprise.Apprise()
    assert notifier.add(url.replace("http://", "xml://"))
    assert not await notifier.async_notify(title="Nightly backup", body="took 3 minutes")
    answer = await live.client().post(url, content=b"<x/>", headers={"content-type": "application/xml"})
    assert (answer.status_code, answer.text) == (400, "invalid_payload")
    assert await alice.history(chat) == []


async def test_title_and_message_are_accepted_without_a_template(
    live: Live, alice: Person, chat: int
) -> None:
    """As JSON, or as a form of `curl --data-urlencode` or `curl -F`. Grafana posts such JSON."""
    url = (await _create_webhook(alice, chat))["url"]
    client = live.client()
    assert (await client.post(url, json=sample_payloads.GRAFANA)).text == "ok"
    assert (await client.post(url, json={"body": "b", "title": None, "attachments": []})).text == "ok"
    assert (await client.post(url, data={"title": "T", "message": "é + 1"})).text == "ok"
    assert (await client.post(url, files={"message": (None, "in a part")})).text == "ok"
    assert (await client.post(url, data={"text": "as Slack, in a form"})).text == "ok"
    contents = [message["content"] for message in reversed(await alice.history(chat))]
    assert contents[0].startswith("**[FIRING:1] DiskFull infra (db-1)**\n**Firing**\n\nValue: A=91.5")
    assert contents[1:] == ["b", "**T**\né + 1", "in a part", "as Slack, in a form"]
    for body, word in (({}, "invalid_payload"), ({"title": " ", "other": "x"}, "no_text")):
        answer = await client.post(url, data=body)
        assert (answer.status_code, answer.text) == (400, word)


async def test_all_members_receive_the_post_under_its_name(live: Live, alice: Person, chat: int) -> None:
    """One author on sockets, in the history and after a resume; the webhook is listed as a bot member."""
    webhook = await _create_webhook(alice, chat)
    async with alice.online() as socket:
        answer = await live.client().post(webhook["url"], json={"content": "x", "username": "Deploys"})
        assert (answer.status_code, answer.text) == (200, "ok")
        received = (await socket.next(type="message.created"))["message"]
    assert received["user"]["display_name"] == "Deploys"
    assert received["user_id"] == webhook["user_id"]
    (stored,) = await alice.history(chat)
    assert stored["user"] == received["user"]
    missed = (await alice.get(f"/api/chats/{chat}/changes", params={"after": 1})).json()["events"]
    assert [event["message"]["user"] for event in missed if "message" in event] == [received["user"]]
    members = (await alice.get(f"/api/chats/{chat}/members")).json()
    assert [(m["display_name"], m["is_bot"]) for m in members if m["id"] == webhook["user_id"]] == [
        ("Grafana", True)
    ]
    assert (await alice.delete(f"/api/chats/{chat}/messages/{stored['id']}")).status_code == 204
    (marker,) = await alice.history(chat)
    assert marker["user"]["display_name"] == "Grafana", "the overridden author is content, too"


async def test_revoked_webhook_cannot_post_and_its_messages_stay(
    live: Live, alice: Person, chat: int
) -> None:
    """Its user leaves the chat. A webhook whose user was removed from the chat cannot post either."""
    first, second = (
        await _create_webhook(alice, chat, "Grafana"),
        await _create_webhook(alice, chat, "Sentry"),
    )
    client = live.client()
    assert (await client.post(first["url"], json={"text": "before"})).text == "ok"
    listed = (await alice.get(f"/api/chats/{chat}/incoming-webhooks")).json()
    assert [(each["name"], each["url"]) for each in listed] == [("Grafana", None), ("Sentry", None)]
    assert listed[0]["last_used_at"] is not None
    assert listed[1]["last_used_at"] is None
    path = f"/api/chats/{chat}/incoming-webhooks/{first['id']}"
    assert (await alice.delete(path)).status_code == 204
    assert (await alice.delete(path)).status_code == 404
    removed = await alice.delete(f"/api/chats/{chat}/members/{second['user_id']}")
    assert removed.status_code == 200
    for url in (first["url"], second["url"], f"{live.url}/hooks/{'0' * 36}", f"{live.url}/hooks/blz_x"):
        answer = await client.post(url, json={"text": "after"})
        assert (answer.status_code, answer.text) == (404, "no_service")
    (message,) = await alice.history(chat)
    assert message["user"]["display_name"] == "Grafana"
    token = first["url"].rpartition("/")[2]
    assert (await live.client(token).get("/api/auth/me")).status_code == 401
    live_token = (await _create_webhook(alice, chat))["url"].rpartition("/")[2]
    assert (await live.client(live_token).get("/api/auth/me")).status_code == 401


async def test_webhook_is_not_found_by_search_and_never_becomes_owner(live: Live) -> None:
    """It outlives the account that created it, but not the last real member of the chat."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat = await alice.group()
    webhook = await _create_webhook(alice, chat)
    await alice.post(f"/api/chats/{chat}/members", [bob.id])
    assert (await alice.get("/api/users", params={"q": "webhook-"})).json() == []
    assert (await alice.delete(f"/api/users/{alice.id}")).status_code == 204
    assert (await bob.get(f"/api/chats/{chat}")).json()["role"] == "owner"
    assert (await live.client().post(webhook["url"], json={"text": "still here"})).text == "ok"
    await bob.delete(f"/api/chats/{chat}/members/{bob.id}")
    gone = await live.client().post(webhook["url"], json={"text": "to an empty chat"})
    assert (gone.status_code, gone.text) == (404, "no_service")
    alone = await carol.group()
    await _create_webhook(carol, alone)
    await carol.delete(f"/api/chats/{alone}/members/{carol.id}")
    assert (await carol.get(f"/api/chats/{alone}")).status_code == 404


async def test_invalid_posts_are_rejected_with_slacks_words(live: Live, alice: Person, chat: int) -> None:
    """Nothing is posted in the chat."""
    url = (await _create_webhook(alice, chat))["url"]
    client = live.client()
    for content, word in (
        (b"", "invalid_payload"),
        (b"{", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b"[" * 100_000, "invalid_payload"),
        (b'{"text": [7]}', "no_text"),
        (b'{"text": "\\u0000 \\u200b"}', "no_text"),
        (b"\xff\xfe", "invalid_payload"),
    ):
        answer = await client.post(url, content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.text) == (400, word), content[:20]
    huge = await client.post(url, content=b'{"text": "' + b"x" * 1_100_000 + b'"}')
    assert huge.status_code == 413
    assert await alice.history(chat) == []
    for wrong in ({"name": " "}, {"name": "a\0b"}, {"name": "x" * 101}, {}):
        answer = await alice.post(f"/api/chats/{chat}/incoming-webhooks", wrong)
        assert answer.status_code == 422
    other = await live.person("bob")
    direct = await alice.direct(other)
    refused = await alice.post(f"/api/chats/{direct}/incoming-webhooks", {"name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "direct_chat_fixed")


async def test_posts_are_rate_limited_per_webhook(new_server: NewServer) -> None:
    """The response says how long to wait."""
    live = await new_server(hook_messages_per_minute=3)
    alice = await live.person()
    chat = await alice.group()
    one, other = await _create_webhook(alice, chat), await _create_webhook(alice, chat)
    client = live.client()
    for _ in range(3):
        assert (await client.post(one["url"], json={"text": "x"})).text == "ok"
    refused = await client.post(one["url"], json={"text": "x"})
    assert (refused.status_code, refused.text) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert (await client.post(other["url"], json={"text": "x"})).text == "ok"


async def test_secret_is_in_no_log(
    live: Live,
    alice: Person,
    chat: int,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither after a successful post nor after a failed one."""
    token = (await _create_webhook(alice, chat))["url"].rpartition("/")[2]
    with caplog.at_level(logging.DEBUG):
        for content in ({"text": "x"}, {}):
            await live.client().post(f"/hooks/{token}", json=content)
        await live.client().get(f"/hooks/{token}")
    printed = capsys.readouterr()
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert token not in printed.out + printed.err + "".join(map(str, (r.__dict__ for r in ours)))


async def test_forms_are_accepted_and_broken_bodies_are_not(live: Live, alice: Person, chat: int) -> None:
    """Older senders post `payload=` in a form. A body shorter than its Content-Length posts nothing."""
    url = (await _create_webhook(alice, chat))["url"]
    client = live.client()
    payload = {"payload": json.dumps({"text": "by a form"})}
    assert (await client.post(url, data=payload)).text == "ok"
    assert (await client.post(url, files={"payload": (None, payload["payload"])})).text == "ok"
    host, _, port = live.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    path = url.removeprefix(live.url)
    writer.write(f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{{"text": "h"}}'.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert len(await alice.history(chat)) == 2
