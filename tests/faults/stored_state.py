"""The state of the database, read directly, and the promises that must hold in it."""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from tests.faults.device import Device
from tests.faults.expected_history import ExpectedHistory
from tests.faults.replica import STORED_FIELDS, comparable

TIMES = ("created_at", "edited_at", "deleted_at", "pinned_at")
CONTENT = re.compile("<[sec][0-9]+>")
MEMBERS = "members m JOIN chats c ON c.id = m.chat_id"
READ_CURSOR = "greatest(m.read_id, c.author_read_ids[array_position(c.author_ids, m.user_id)])"
"""The chat's row has the cursors of authors (docs/decisions/0013-lighter-append.md)."""


@dataclass
class StoredState:
    """All chats, members and messages at one moment."""

    chats: dict[int, asyncpg.Record]
    members: dict[int, dict[int, asyncpg.Record]]  # by chat id, then user id
    messages: dict[int, dict[int, dict[str, Any]]]  # by chat id, then message id
    all_rows: str  # all rows of all tables as text

    # Checks of the database alone

    def check_ids(self) -> None:
        """Ids are 1..n without holes, and no version occurs twice."""
        for chat_id, messages in self.messages.items():
            newest = self.chats[chat_id]["last_message_id"]
            assert list(messages) == list(range(1, newest + 1)), f"ids of chat {chat_id}: {list(messages)}"
            versions = [message["version"] for message in messages.values()]
            assert len(set(versions)) == len(versions), f"versions of chat {chat_id}"
            assert max(versions, default=0) <= self.chats[chat_id]["version"]

    def check_acknowledged(self, history: ExpectedHistory) -> None:
        """An acknowledged message is stored once, as it was sent or as it was edited or deleted since."""
        by_client_id: dict[tuple[int, int, str], list[dict[str, Any]]] = {}
        for chat_id, messages in self.messages.items():
            for message in messages.values():
                key = (chat_id, message["user_id"], message["client_id"])
                by_client_id.setdefault(key, []).append(message)
        for sent in history.sent:
            found = by_client_id.pop((sent.chat_id, sent.user_id, sent.client_id), [])
            if sent.chat_id not in self.chats:
                continue
            if sent.acknowledged_at is not None:
                assert found, f"acknowledged and lost: {sent}"
                assert found[0]["id"] == sent.message_id, (
                    f"stored under another id than acknowledged: {sent}"
                )
            assert len(found) < 2, f"stored twice: {sent}"
            if found:
                _check_content(history, sent.chat_id, found[0], sent.content)
        assert not by_client_id, f"stored, but never sent: {by_client_id}"

    def check_deleted(self, history: ExpectedHistory) -> None:
        """A message is deleted if the deletion was acknowledged."""
        for chat_id, message_id in history.deleted:
            if chat_id in self.chats:
                message = self.messages[chat_id][message_id]
                assert message["deleted_at"] is not None, f"not deleted: {message}"

    # Comparisons with devices

    def check_device(self, device: Device) -> None:
        """A device has chats, names, members, messages and read cursors as the database has them for its
        user."""
        expected_chats = {chat_id for chat_id in self.chats if device.user_id in self.members[chat_id]}
        assert device.chats.keys() == expected_chats, (
            f"{_label(device)}: chats {device.chats.keys() ^ expected_chats}"
        )
        for chat_id, chat in device.chats.items():
            row, membership, label = (
                self.chats[chat_id],
                self.members[chat_id][device.user_id],
                _label(device, chat_id),
            )
            members = {user_id: member["role"] for user_id, member in self.members[chat_id].items()}
            assert chat.members == members, f"{label}: members {chat.members}, not {members}"
            assert chat.name == row["name"], f"{label}: name {chat.name}, not {row['name']}"
            visible_after = membership["joined_id"] if row["history"] == "joined" else 0
            expected = {
                message_id: comparable(message)
                for message_id, message in self.messages[chat_id].items()
                if message_id > visible_after
            }
            known = {
                message_id: comparable(_with_times(message))
                for message_id, message in chat.messages.items()
            }
            assert known.keys() == expected.keys(), f"{label}: messages {known.keys() ^ expected.keys()}"
            for message_id, message in expected.items():
                assert known[message_id] == message, f"{label}: {known[message_id]}, not {message}"
            assert chat.version == row["version"], f"{label}: version {chat.version}, not {row['version']}"
            assert chat.read_id == membership["read_cursor"], (
                f"{label}: read up to {chat.read_id}, not {membership['read_cursor']}"
            )

    def check_gone(self, devices: list[Device]) -> None:
        """Content of deleted messages, and content before an edit, is neither in the database nor on a
        device."""
        stored = set(CONTENT.findall(self.all_rows))
        allowed = {
            content
            for messages in self.messages.values()
            for message in messages.values()
            if message["deleted_at"] is None
            for content in CONTENT.findall(message["content"])
        }
        assert stored <= allowed, f"in the database: {stored - allowed}"
        for device in devices:
            for chat in device.chats.values():
                kept = {c for m in chat.messages.values() for c in CONTENT.findall(m["content"])}
                assert kept <= allowed, f"{_label(device, chat.chat_id)}: {kept - allowed}"

    @property
    def current_versions(self) -> set[tuple[int, int]]:
        """The versions that stand for the current state of a chat or a message."""
        found = {(chat_id, chat["info_version"]) for chat_id, chat in self.chats.items()}
        return found | {
            (chat_id, message["version"])
            for chat_id, messages in self.messages.items()
            for message in messages.values()
        }

    def agrees_with(self, devices: list[Device]) -> bool:
        """Return True if all devices have the current versions of their chats."""
        versions = {chat_id: row["version"] for chat_id, row in self.chats.items()}
        return all(
            device.is_settled and all(chat.version == versions.get(i) for i, chat in device.chats.items())
            for device in devices
        )


async def read(dsn: str) -> StoredState:
    """Read the state in one snapshot."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            chats = {row["id"]: row for row in await connection.fetch("SELECT * FROM chats")}
            state = StoredState(chats, {c: {} for c in chats}, {c: {} for c in chats}, "")
            for row in await connection.fetch(f"SELECT m.*, {READ_CURSOR} AS read_cursor FROM {MEMBERS}"):
                state.members[row["chat_id"]][row["user_id"]] = row
            for row in await connection.fetch(
                "SELECT *, author_id AS user_id FROM messages ORDER BY chat_id, id"
            ):
                message = {name: row[name] for name in STORED_FIELDS} | {"reactions": []}
                state.messages[row["chat_id"]][row["id"]] = message
            for row in await connection.fetch(
                "SELECT chat_id, message_id, emoji, array_agg(user_id) AS user_ids FROM reactions"
                " GROUP BY chat_id, message_id, emoji"
            ):
                reaction = {
                    "emoji": row["emoji"],
                    "count": len(row["user_ids"]),
                    "user_ids": row["user_ids"],
                }
                state.messages[row["chat_id"]][row["message_id"]]["reactions"].append(reaction)
            for row in await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ):
                rows = await connection.fetch(f'SELECT t::text FROM "{row[0]}" t')
                state.all_rows += "\n".join(each[0] for each in rows)
            return state
    finally:
        await connection.close()


async def watch_cursors(dsn: str) -> None:
    """Check until cancelled that no read cursor goes back during a membership, or passes the newest
    message."""
    connection = await asyncpg.connect(dsn)
    before: dict[tuple[int, int, datetime], int] = {}
    try:
        while True:
            rows = await connection.fetch(
                f"SELECT m.chat_id, user_id, joined_at, {READ_CURSOR} AS read_cursor, last_message_id"
                f" FROM {MEMBERS}"
            )
            for row in rows:
                key = (row["chat_id"], row["user_id"], row["joined_at"])
                assert before.get(key, 0) <= row["read_cursor"] <= row["last_message_id"], (
                    before.get(key),
                    row,
                )
                before[key] = row["read_cursor"]
            await asyncio.sleep(0.1)
    finally:
        connection.terminate()


def _check_content(history: ExpectedHistory, chat_id: int, message: dict[str, Any], sent: str) -> None:
    """The content is that of the send, of the last acknowledged edit, or of an edit without
    acknowledgement.

    A deleted message has no content.
    """
    if message["deleted_at"] is not None:
        assert message["content"] == "", message
        return
    edits = history.edits.get((chat_id, message["id"]), {})
    last = max(edits, key=lambda content: edits[content], default=sent)
    expected = last if edits.get(last, 0) > 0 else sent
    unknown = {content for content, version in edits.items() if version == 0}
    assert message["content"] in {expected, *unknown}, f"unexpected content: {message}, not {expected}"


def _with_times(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of the API with times as the database returns them."""
    return message | {
        name: datetime.fromisoformat(message[name]) for name in TIMES if message[name] is not None
    }


def _label(device: Device, chat_id: int = 0) -> str:
    trace = device.traces.get(chat_id, [])
    return f"device {device.number} of user {device.user_id}, chat {chat_id} {trace[-30:]}"
