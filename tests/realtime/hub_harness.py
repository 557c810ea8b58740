"""Test doubles for the hub: a database in memory, a recording transport, and events of chat 7."""

import asyncio
import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import (
    ChatEvent,
    ChatRefreshed,
    MembersAdded,
    MemberState,
    MessageCreated,
)
from blazechat.domain.schemas.chats import Chat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Author, Member
from blazechat.errors import Unavailable
from blazechat.realtime import frames
from blazechat.realtime.connection import Connection, Kind, SendFlusher, SocketLimits
from blazechat.realtime.hub import Hub
from blazechat.vocabulary import History, Role, Status
from tests.harness import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(number: int, version: int) -> Message:
    """Return message `number` of chat 7, written by alice."""
    return Message(
        id=number,
        chat_id=7,
        user_id=1,
        user=Author(1, "alice", "Alice"),
        content=f"m{number}",
        client_id=f"c{number}",
        reply_to=None,
        version=version,
        is_read=False,
        created_at=NOW,
        updated_at=NOW,
        edited_at=None,
        deleted_at=None,
        pinned_at=None,
        reactions=[],
        attachments=[],
    )


def message_created(number: int) -> MessageCreated:
    """Return the event of message `number` in a chat without other changes: its version is one greater."""
    return MessageCreated(7, number + 1, message(number, number + 1))


def _chat(version: int, count: int, history: History = History.ALL) -> Chat:
    return Chat(7, "Team", True, history, NOW, [], count, 0, version)


def chat_refreshed(version: int, *user_ids: int) -> ChatRefreshed:
    """Return the event of a changed chat, with these users as its current members."""
    member_states = {user_id: MemberState(Role.MEMBER, 0, 0) for user_id in user_ids}
    return ChatRefreshed(
        7, version, _chat(version, len(user_ids)), None, member_states, frozenset(user_ids)
    )


def _checked(event: ChatEvent, user_ids: Collection[int]) -> ChatEvent:
    """Return a ChatRefreshed with the membership of these users only, as the database returns it."""
    if not isinstance(event, ChatRefreshed):
        return event
    states = {user_id: state for user_id, state in event.member_states.items() if user_id in user_ids}
    return replace(event, member_states=states, checked_user_ids=frozenset(user_ids))


def members_added(version: int, user_id: int) -> MembersAdded:
    """Return the event of a new member."""
    member = Member(user_id, f"u{user_id}", "U", NOW, None, Status.ONLINE, False, Role.MEMBER)
    return MembersAdded(7, version, [member], MemberState(Role.MEMBER, 0, 0), _chat(version, 9), None)


class MemoryDatabase:
    """A database in memory with the changes of chat 7, of which the hub may have missed the events."""

    def __init__(self, *events: ChatEvent, page_rows: int = 100) -> None:
        self.events = list(events)
        self.reads = 0
        self.is_away = False
        self.error: Exception | None = None
        self.page_rows = page_rows

    async def read_changes(self, chat_id: int, version: int, user_ids: Collection[int]) -> Changes:
        """Return a page of the changes after `version`. Raises Unavailable while away, and `error` if
        set."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        if self.error is not None:
            raise self.error
        missed = [_checked(event, user_ids) for event in self.events if event.version > version]
        page = missed[: self.page_rows]
        newest = max((event.version for event in self.events), default=1)
        reached = page[-1].version if len(missed) > self.page_rows else max(newest, version)
        refreshed = [event for event in missed if isinstance(event, ChatRefreshed)]
        return Changes(page, reached, newest, refreshed[-1] if refreshed else None)


class IgnoringOwner:
    """An owner of connections that does nothing."""

    def receive(self, connection: Connection, text: str | None) -> None: ...

    def closing(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def expired(self, connection: Connection) -> None: ...


class RecordingTransport:
    """A transport that keeps the frames that are written to it."""

    is_paused = False

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.writes: list[list[bytes]] = []
        self.close_code: int | None = None

    def write(self, whole_frames: list[bytes]) -> None:
        self.writes.append(whole_frames)
        data = b"".join(whole_frames)
        while data:
            size, header = data[1], 2
            if size == 126:
                size, header = int.from_bytes(data[2:4], "big"), 4
            assert data[0] == frames.FIN | frames.TEXT
            self.frames.append(json.loads(data[header : header + size]))
            data = data[header + size :]

    def write_one(self, frame: bytes) -> None:
        self.write([frame])

    def close(self, code: int, reason: str) -> None:
        self.close_code = code

    def abort(self) -> None: ...

    def read(self, more: bool) -> None: ...


LIMITS = SocketLimits(outbox=10**9, frame=10**6, rate=1000, burst=1000, heartbeat=60, handshake=5)


class Subscriber:
    """A connection that has read chat 7 at a version, and subscribes to it. With version 0 it does not."""

    def __init__(self, hub: Hub, version: int = 1, user_id: int = 1, kind: Kind = Kind.MAIN) -> None:
        self.transport = RecordingTransport()
        self.connection = Connection(kind, IgnoringOwner(), SendFlusher(), LIMITS)
        self.connection.user_id, self.connection.session_id = user_id, 100 + user_id
        self.connection.verified = True
        self.connection.accepted(self.transport)
        hub.add(self.connection)
        if version:
            hub.attach(self.connection, ChatPosition(7, version, version - 1, 0, 0, False))

    @property
    def message_ids(self) -> list[int]:
        """The ids of the received messages, in the order of arrival."""
        bodies = [frame.get("message", frame) for frame in self.transport.frames]
        return [body["id"] for body in bodies if "content" in body]

    @property
    def types(self) -> list[str]:
        """The types of the received frames, in the order of arrival."""
        return [frame["type"] for frame in self.transport.frames]


async def settled(hub: Hub) -> None:
    """Wait until the hub has finished all work."""
    await asyncio.sleep(0)
    await eventually(lambda: not hub._tasks)
    for _ in range(4):
        await asyncio.sleep(0)
