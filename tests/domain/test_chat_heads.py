"""What the ledger knows of chats makes it faster and never wrong."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.engine import Database
from blazechat.domain.events import MemberRemoved, MessageUpdated
from blazechat.domain.messaging import chat_heads
from blazechat.domain.messaging.ledger import MAX_SKIPPED_ROUNDS, Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.errors import ClientIdConflict, InvalidInput, NotFound, Unauthenticated
from tests.domain.stage import Scene, scene


async def _known(stage: Scene, *places: tuple[int, int]) -> None:
    """Have the ledger know these members of these chats, by a message of each."""
    for chat, author in places:
        await stage.send("hello", chat=chat, author=author)
    stage.statements.clear()


async def test_what_is_known_is_not_judged_again(dsn: str) -> None:
    """The second batch of a member is stored without looking at the chat first."""
    async with scene(dsn) as stage:
        await stage.send("first")
        assert stage.statements == ["append"]
        sends = [stage.send(f"{n}", author=1) for n in range(30)]
        assert [(await send).id for send in sends] == list(range(2, 32))
        assert set(stage.statements[1:]) == {"extend"}
        await stage.send("of another", author=2)
        assert stage.statements[-1] == "append"
        await asyncio.gather(stage.send("a", author=1), stage.send("b", author=2))
        assert stage.statements[-1] == "extend"
        rows = await stage.rows()
        assert [row["id"] for row in rows] == [row["version"] - 1 for row in rows] == list(range(1, 35))
        chat = await stage.connection.fetchrow("SELECT version, last_message_id FROM chats WHERE id = 1")
        assert chat is not None
        assert tuple(chat) == (35, 34)
        read = await stage.connection.fetch(
            "SELECT read_id FROM members WHERE chat_id = 1 ORDER BY user_id"
        )
        assert [row["read_id"] for row in read] == [33, 34, 0]


async def test_removed_since(dsn: str) -> None:
    """Whoever was removed since their last message is refused; others are not."""
    async with scene(dsn) as stage:
        await _known(stage, (1, 1), (1, 2), (2, 1))
        await stage.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await stage.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        refused, others, elsewhere = stage.send("x"), stage.send("y", author=2), stage.send("z", chat=2)
        with pytest.raises(NotFound):
            await refused
        assert (await others).id == 3
        assert (await elsewhere).id == 2
        assert stage.statements[0] == "extend"
        assert [row["content"] for row in await stage.rows()] == ["hello", "hello", "y"]


async def test_removed_before_somebody_new_wrote(dsn: str) -> None:
    """What is learnt about a chat at a later version says nothing of those who wrote before."""
    async with scene(dsn) as stage:
        await _known(stage, (1, 1))
        await stage.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await stage.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        await stage.send("x", author=2)
        with pytest.raises(NotFound):
            await stage.send("y")
        assert stage.statements == ["append", "append"]


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now()", "user_id = 3"])
async def test_session_ended_since(dsn: str, ending: str) -> None:
    """And those whose sends were in the same batch do not notice."""
    async with scene(dsn) as stage:
        await _known(stage, (1, 1), (1, 2))
        await stage.connection.execute(f"UPDATE sessions SET {ending} WHERE id = 1")
        refused, others = stage.send("x"), stage.send("y", author=2)
        with pytest.raises(Unauthenticated):
            await refused
        assert (await others).id == 3
        assert stage.statements[0] == "extend"


@pytest.mark.parametrize("name", ["username", "display_name"])
async def test_renamed_since(dsn: str, name: str) -> None:
    """A message shows its author's name as of its commit."""
    async with scene(dsn) as stage:
        await _known(stage, (1, 1))
        await stage.connection.execute(f"UPDATE users SET {name} = 'new' WHERE id = 1")
        assert getattr((await stage.send("x")).user, name) == "new"
        assert stage.statements == ["extend", "append"]


async def test_replies_reach_as_far_as_their_author_sees(dsn: str) -> None:
    """Who may not read what was said before they joined cannot reply to it either."""
    async with scene(dsn) as stage:
        await stage.connection.execute("UPDATE chats SET history = 'joined' WHERE id = 1")
        await stage.connection.execute("UPDATE members SET joined_id = 2 WHERE chat_id = 1 AND user_id = 2")
        await _known(stage, (1, 1), (1, 1), (1, 1), (1, 2))
        for unseen in (1, 2, 5):
            with pytest.raises(InvalidInput):
                await stage.send("x", author=2, reply_to=unseen)
        stage.statements.clear()
        assert (await stage.send("x", author=2, reply_to=3)).reply_to == 3
        assert (await stage.send("x", author=1, reply_to=1)).reply_to == 1
        assert stage.statements == ["extend", "extend"]


async def test_a_retry_is_found(dsn: str) -> None:
    """And so is a conflict; the rest of the batch is stored, once."""
    async with scene(dsn) as stage:
        await _known(stage, (1, 1), (1, 2))
        first = await stage.send("x", client_id="c")
        retry, other = stage.send("x", client_id="c"), stage.send("y", author=2)
        assert (await retry).id == first.id
        assert (await other).id == first.id + 1
        assert stage.statements == ["extend", "extend", "append"]
        with pytest.raises(ClientIdConflict):
            await stage.send("z", client_id="c")
        assert [row["content"] for row in await stage.rows()] == ["hello", "hello", "x", "y"]


async def test_what_others_do_is_followed(dsn: str) -> None:
    """An edit that is told costs nothing; one that is not, or a change of the chat, one attempt."""
    async with scene(dsn) as stage:
        message = await stage.send("hello")
        bump = "UPDATE chats SET version = version + 1 WHERE id = 1 RETURNING version"
        stage.statements.clear()
        version = await stage.connection.fetchval(bump)
        stage.ledger.handle(MessageUpdated(1, version, replace(message, version=version)))
        await stage.send("told")
        assert stage.statements == ["extend"]
        await stage.connection.fetchval(bump)
        await stage.send("not told")
        assert stage.statements == ["extend", "extend", "append"]
        version = await stage.connection.fetchval(bump)
        stage.ledger.handle(MemberRemoved(1, version, 3))
        await stage.send("known to be unknown")
        assert stage.statements == ["extend", "extend", "append", "append"]
        stage.ledger.handle(MessageUpdated(1, version, message))  # late
        await stage.send("still known")
        assert stage.statements[-1] == "extend"


async def test_a_known_chat_that_is_held_does_not_hold_up_the_others(dsn: str) -> None:
    async with scene(dsn) as stage:
        await _known(stage, (1, 1), (2, 1))
        holder = stage.connection.transaction()
        await holder.start()
        await stage.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        held = [stage.send(f"held {n}") for n in range(3)]
        for n in range(MAX_SKIPPED_ROUNDS + 3):
            async with asyncio.timeout(5):
                assert (await stage.send(f"other {n}", chat=2)).id == n + 2
        held.append(stage.send("held 3"))
        assert not any(future.done() for future in held)
        await holder.rollback()
        assert [(await future).id for future in held] == [2, 3, 4, 5]
        assert [row["content"] for row in await stage.rows()][1:] == [f"held {n}" for n in range(4)]


@pytest.mark.parametrize("stored", [False, True])
async def test_connection_lost_in_an_extension(dsn: str, stored: bool) -> None:
    """Whether it was stored or not, nobody knows: all of it is found or stored, once."""

    class Breaking(Database):
        breaks = 0

        async def connect(self, **options: str) -> Any:
            return Fragile(await super().connect(**options))

    class Fragile:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self._connection = connection

        async def fetch(self, statement: str, *arguments: Any) -> Any:
            if statement != chat_heads.FAST_APPEND or Breaking.breaks:
                return await self._connection.fetch(statement, *arguments)
            Breaking.breaks += 1
            if stored:
                await self._connection.fetch(statement, *arguments)
            self._connection.terminate()
            raise ConnectionResetError("cut off by the test")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    async with scene(dsn) as stage:
        database = Breaking(dsn)
        ledger = Ledger(database, stage.published.append, max_queued=100, timeout=10)
        ledger.start()
        sends = []
        for n in range(20):
            sends.append(ledger.send(Sender(1, 1), MessageDraft(1, f"m{n}")))
            if n % 5 == 0:
                await sends[-1]
        ids = [(await send).id for send in sends]
        assert Breaking.breaks == 1
        assert ids == list(range(1, 21))
        assert [row["content"] for row in await stage.rows()] == [f"m{n}" for n in range(20)]
        assert [event.message.id for event in stage.published] == ids
        await ledger.drain()
        await database.close()


async def test_what_is_kept_is_bounded(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chats that were learnt first are forgotten first, and learnt again."""
    monkeypatch.setattr(chat_heads, "MAX_PERMITTED_SENDERS", 2)
    async with scene(dsn) as stage:
        await _known(stage, (1, 1), (2, 1), (3, 1), (3, 2))
        assert (await stage.send("x", chat=3)).id == 3
        assert (await stage.send("x", chat=1)).id == 2
        assert stage.statements == ["extend", "append"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("remove"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("add"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("edit"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.sampled_from(["end", "begin"]), st.just(0), st.integers(1, 3)),
    ),
    min_size=4,
    max_size=40,
)
CHANGES = {
    "remove": "DELETE FROM members WHERE chat_id = $1 AND user_id = $2",
    "add": "INSERT INTO members (chat_id, user_id, role) VALUES ($1, $2, 'member') ON CONFLICT DO NOTHING",
    "edit": "SELECT $1::int8, $2::int8",
    "end": "UPDATE sessions SET revoked_at = now() WHERE $1::int8 = 0 AND id = $2",
    "begin": "UPDATE sessions SET revoked_at = NULL WHERE $1::int8 = 0 AND id = $2",
}


class _Rights:
    """Who may send, and what has been sent."""

    def __init__(self) -> None:
        self.members = {(chat, user) for chat in (1, 2) for user in (1, 2, 3)}
        self.ended: set[int] = set()
        self.sent: dict[int, list[int]] = {1: [], 2: []}
        """The ids of each chat's messages."""
        self._waiting: list[tuple[int, int, asyncio.Future[Any], type[Exception] | None]] = []

    def change(self, kind: str, chat: int, user: int) -> None:
        if kind in ("remove", "add"):
            (self.members.discard if kind == "remove" else self.members.add)((chat, user))
        elif kind in ("end", "begin"):
            (self.ended.add if kind == "end" else self.ended.discard)(user)

    def send(self, chat: int, user: int, future: asyncio.Future[Any]) -> None:
        refused: type[Exception] | None = Unauthenticated if user in self.ended else None
        if refused is None and (chat, user) not in self.members:
            refused = NotFound
        self._waiting.append((chat, user, future, refused))

    async def settle(self) -> None:
        """Each send so far has come to what it has to; an author's are in their order."""
        latest: dict[tuple[int, int], int] = {}
        for chat, user, future, refused in self._waiting:
            if refused is not None:
                with pytest.raises(refused):
                    await future
                continue
            message = await future
            assert message.id > latest.get((chat, user), 0)
            latest[chat, user] = message.id
            self.sent[chat].append(message.id)
        self._waiting.clear()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_rights_are_those_of_the_moment(dsn: str, steps: list[tuple[str, int, int]]) -> None:
    """Whatever changes between sends, each is judged by what is committed before; ids have no holes."""
    async with scene(dsn) as stage:
        rights = _Rights()
        for kind, chat, user in steps:
            if kind == "send":
                rights.send(chat, user, stage.send("x", chat=chat, author=user))
                continue
            await rights.settle()
            async with stage.connection.transaction():
                await stage.connection.execute("UPDATE chats SET version = version + 1 WHERE id = $1", chat)
                await stage.connection.execute(CHANGES[kind], chat, user)
            rights.change(kind, chat, user)
        await rights.settle()
        for chat, ids in rights.sent.items():
            assert sorted(ids) == [row["id"] for row in await stage.rows(chat)]
            assert sorted(ids) == list(range(1, len(ids) + 1))
