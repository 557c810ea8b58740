"""Direct calls on connections: order, clients that leave or read late, shutdown, and the log."""

import asyncio
import json

import asyncpg
import pytest

from tests.api.direct_harness import HELLO, JSON, SEND, Direct, read_answer, request, with_recorder
from tests.conftest import NewDatabase, NewServer
from tests.harness import TIMEOUT_SECONDS, eventually


async def test_requests_of_one_connection_are_answered_in_order(direct: Direct) -> None:
    """Pipelined requests of both kinds, and one whose body arrives in two parts."""
    reader, writer = await direct.connect()
    send = direct.head("POST", SEND, JSON)
    page = direct.head("GET", f"{SEND}?limit=1")
    numbers = range(10)
    for number in numbers:
        body = b'{"content":"number %d"}' % number
        writer.write(request(send, body, fastapi=number % 3 == 0) + request(page, b""))
    last = request(send, b'{"content":"the last"}')
    writer.write(last[:-5])
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for number in numbers:
            assert json.loads((await read_answer(reader)).body)["content"] == f"number {number}"
            assert json.loads((await read_answer(reader)).body)[0]["content"] == f"number {number}"
        writer.write(last[-5:])
        assert json.loads((await read_answer(reader)).body)["content"] == "the last"
        writer.write(request(direct.head("POST", SEND, JSON, "Connection: close"), HELLO))
        answer = await read_answer(reader)
        assert answer.header("connection") == "close"
        assert await reader.read() == b""
    writer.close()


async def test_client_that_leaves_before_the_response_harms_nothing(direct: Direct) -> None:
    """Its message is stored, and other requests are answered."""
    for number in range(20):
        _, writer = await direct.connect()
        writer.write(request(direct.head("POST", SEND, JSON), b'{"content":"left %d"}' % number))
        writer.write(request(direct.head("GET", SEND), b""))
        await writer.drain()
        await asyncio.sleep(0)
        writer.transport.abort()
    await direct.alice.say(direct.chat_id, "the last")
    assert (await direct.alice.history(direct.chat_id))[0]["content"] == "the last"


async def test_pages_that_are_read_late_arrive_complete(direct: Direct) -> None:
    """20 MB of pipelined pages, far more than the buffers of the connection hold."""
    for _ in range(20):
        await direct.alice.say(direct.chat_id, "x" * 10_000)
    reader, writer = await direct.connect()
    page = request(direct.head("GET", SEND), b"")
    writer.write(page * 100)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for _ in range(100):
            assert len(json.loads((await read_answer(reader)).body)) == 20
    writer.close()


async def test_shutdown_answers_sends_in_flight(new_server: NewServer, new_database: NewDatabase) -> None:
    """Sends that wait for a locked chat are stored and acknowledged before the connections are closed."""
    dsn = await new_database()
    direct = await with_recorder(await new_server(database_url=dsn))
    database = await asyncpg.connect(dsn)
    lock = database.transaction()
    await lock.start()
    await database.execute("SELECT FROM chats WHERE id = $1 FOR UPDATE", direct.chat_id)
    connections = [await direct.connect() for _ in range(20)]
    for number, (_, writer) in enumerate(connections):
        writer.write(request(direct.head("POST", SEND, JSON), b'{"content":"number %d"}' % number))
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    observer = await asyncpg.connect(dsn)
    await eventually(lambda: observer.fetch(waiting))
    direct.live.server.should_exit = True
    await lock.rollback()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        answers = [await reader.read() for reader, _ in connections]
    assert answers[0].startswith(b"HTTP/1.1 201 "), answers[0]
    assert all(answer[9:12] in (b"201", b"503") for answer in answers), answers
    for closing in (database, observer):
        await closing.close()
    for _, writer in connections:
        writer.close()


async def test_failures_are_logged_alike(new_server: NewServer, caplog: pytest.LogCaptureFixture) -> None:
    """With the access log, each request has one line with the same fields."""
    direct = await with_recorder(await new_server(access_log=True))
    with caplog.at_level("INFO", logger="blazechat.http"):
        for path in (SEND, "/chats/999999/messages"):
            caplog.clear()
            await direct.compare("POST", path, JSON, body=HELLO)
            mine, theirs = (record.msg for record in caplog.records if record.name == "blazechat.http")
            assert isinstance(mine, dict)
            assert isinstance(theirs, dict)
            assert mine.keys() == theirs.keys()
            for name in ("event", "method", "path", "status", "level"):
                assert mine[name] == theirs[name], name
