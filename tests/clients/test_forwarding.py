"""`blazechat webhooks listen`: a local receiver gets every event that a webhook would get."""

import asyncio
from pathlib import Path
from random import Random

from tests.clients.test_scripting import blazechat, log_in, started
from tests.clients.wire import tcp_proxy
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.webhooks.receiver import receiving


async def test_forwards_every_event_through_lost_connections(new_server: NewServer, tmp_path: Path) -> None:
    """Each request is signed with the printed secret, while connections are cut. Messages are complete, as
    in webhooks."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    chat, other = await alice.group(bob), await alice.group(bob)
    async with tcp_proxy(Random(7)) as network, receiving() as receiver:
        network.forward_to(live.url)
        await log_in(tmp_path, Live(network.url, live.app, live.server), bob.username)
        arguments = ("--forward", receiver.url, "--chat", str(chat), "--events", "message.created")
        async with started(tmp_path, "webhooks", "listen", *arguments) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            first = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            secret = first.split()[-1]
            for number in range(30):
                await alice.say(other, "in another chat")
                await alice.say(chat, str(number))
                if number % 10 == 5:
                    network.cut()
            await eventually(lambda: len({request.event_id for request in receiver.accepted}) == 30, 30)
            events = {request.event_id: request.verify(secret) for request in receiver.accepted}
            history = {message["id"]: message for message in await bob.history(chat, limit=100)}
            for event in events.values():
                assert event["message"] == history[event["message"]["id"]]
            contents = [event["message"]["content"] for event in events.values()]
            assert set(contents) == {str(number) for number in range(30)}
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            assert line.startswith(f"message.created  chat {chat}  version ")
            assert "  200  " in line
            process.send_signal(2)
            await asyncio.wait_for(process.communicate(), 30)
            assert process.returncode == 130


async def test_wrong_arguments_are_explained(live: Live, tmp_path: Path) -> None:
    """No URL, unknown event type, invalid secret, no login, unknown chat."""
    forward = ("webhooks", "listen", "--forward")
    for arguments, code, sentence in (
        ((*forward, "localhost:3000"), 2, "takes a URL"),
        ((*forward, "http://127.0.0.1:1/", "--events", "message.sent"), 2, "message.created"),
        ((*forward, "http://127.0.0.1:1/", "--secret", "hunter2"), 2, "whsec_"),
        ((*forward, "http://127.0.0.1:1/"), 3, "blazechat login"),
    ):
        done = await blazechat(tmp_path, *arguments)
        assert (done.code, sentence in done.err) == (code, True), done
    alice = await live.person("alice")
    await log_in(tmp_path, live, alice.username)
    done = await blazechat(tmp_path, *forward, "http://127.0.0.1:1/", "--chat", "nowhere")
    assert done.code == 5
