"""The database of a server, read past it, and everything that has to be so in it."""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from tests.faults.expected_history import ExpectedHistory
from tests.faults.device import Device
from tests.faults.replica import STORED_FIELDS, comparable

TIMES = ("created_at", "edited_at", "deleted_at", "pinned_at")
CONTENT = re.compile("<[sec][0-9]+>")


@dataclass
class StoredState:
    chats: dict[int, asyncpg.Record]
    members: dict[int, dict[int, asyncpg.Record]]  # of each chat, by user
    messages: dict[int, dict[int, dict[str, Any]]]  # of each chat, by id, in the order of ids
    all_rows: str  # all rows of all tables, as text

    # Of the database alone

    def check_ids(self) -> None:
        """1..n without holes, and no version twice."""
        for chat_id, messages in self.messages.items():
            newest = self.chats[chat_id]["last_message_id"]
            assert list(messages) == list(range(1, newest + 1)), f"ids of chat {chat_id}: {list(messages)}"
            versions = [message["version"] for message in messages.values()]
            assert len(set(versions)) == len(versions), f"versions of chat {chat_id}"
            assert max(versions, default=0) <= self.chats[chat_id]["version"]

    def check_acknowledged(self, book: ExpectedHistory) -> None:
        """What was acknowledged is there once, as it was said or as it was edited or deleted since."""
        by_client_id: dict[tuple[int, int, str], list[dict[str, Any]]] = {}
        for chat_id, messages in self.messages.items():
            for message in messages.values():
                key = (chat_id, message["user_id"], message["client_id"])
                by_client_id.setdefault(key, []).append(message)
        for said in book.sent:
            found = by_client_id.pop((said.chat_id, said.user_id, said.client_id), [])
            if said.chat_id not in self.chats:
                continue
            if said.acknowledged_at is not None:
                assert found, f"acknowledged and lost: {said}"
                assert found[0]["id"] == said.message_id, f"acknowledged as another: {said}"
            assert len(found) < 2, f"there twice: {said}"
            if found:
                _check_content(book, said.chat_id, found[0], said.content)
        assert not by_client_id, f"nobody said this: {by_client_id}"

    def check_deleted(self, book: ExpectedHistory) -> None:
        """What was acknowledged as deleted is."""
        for chat_id, message_id in book.deleted:
            if chat_id in self.chats:
                message = self.messages[chat_id][message_id]
                assert message["deleted_at"] is not None, f"not deleted: {message}"

    # Beside what devices know

    def check_device(self, device: Device) -> None:
        """Chats, names, members, messages and read cursor: as the database has them for this user."""
        mine = {chat_id for chat_id in self.chats if device.user_id in self.members[chat_id]}
        assert device.chats.keys() == mine, f"{_label(device)}: chats {device.chats.keys() ^ mine}"
        for chat_id, chat in device.chats.items():
            row, seat, who = (
                self.chats[chat_id],
                self.members[chat_id][device.user_id],
                _label(device, chat_id),
            )
            members = {user_id: member["role"] for user_id, member in self.members[chat_id].items()}
            assert chat.members == members, f"{who}: members {chat.members}, not {members}"
            assert chat.name == row["name"], f"{who}: name {chat.name}, not {row['name']}"
            visible_after = seat["joined_id"] if row["history"] == "joined" else 0
            wanted = {
                message_id: comparable(message)
                for message_id, message in self.messages[chat_id].items()
                if message_id > visible_after
            }
            known = {message_id: comparable(_with_times(message)) for message_id, message in chat.messages.items()}
            assert known.keys() == wanted.keys(), f"{who}: messages {known.keys() ^ wanted.keys()}"
            for message_id, message in wanted.items():
                assert known[message_id] == message, f"{who}: {known[message_id]}, not {message}"
            assert chat.version == row["version"], f"{who}: version {chat.version}, not {row['version']}"
            assert chat.read_id == seat["read_id"], (
                f"{who}: read up to {chat.read_id}, not {seat['read_id']}"
            )

    def check_gone(self, devices: list[Device]) -> None:
        """Nobody has what deleted messages said, or said before an edit; nor has the database."""
        there = set(CONTENT.findall(self.all_rows))
        allowed = {
            content
            for messages in self.messages.values()
            for message in messages.values()
            if message["deleted_at"] is None
            for content in CONTENT.findall(message["content"])
        }
        assert there <= allowed, f"in the database: {there - allowed}"
        for device in devices:
            for chat in device.chats.values():
                kept = {c for m in chat.messages.values() for c in CONTENT.findall(m["content"])}
                assert kept <= allowed, f"{_label(device, chat.chat_id)}: {kept - allowed}"

    @property
    def current_versions(self) -> set[tuple[int, int]]:
        """The versions that say how things are now."""
        found = {(chat_id, chat["info_version"]) for chat_id, chat in self.chats.items()}
        return found | {
            (chat_id, message["version"])
            for chat_id, some in self.messages.items()
            for message in some.values()
        }

    def agrees_with(self, devices: list[Device]) -> bool:
        """Whether all devices have come to the present versions of their chats."""
        versions = {chat_id: row["version"] for chat_id, row in self.chats.items()}
        return all(
            device.is_settled and all(chat.version == versions.get(i) for i, chat in device.chats.items())
            for device in devices
        )


async def read(dsn: str) -> StoredState:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            chats = {row["id"]: row for row in await connection.fetch("SELECT * FROM chats")}
            truth = StoredState(chats, {c: {} for c in chats}, {c: {} for c in chats}, "")
            for row in await connection.fetch("SELECT * FROM members"):
                truth.members[row["chat_id"]][row["user_id"]] = row
            for row in await connection.fetch(
                "SELECT *, author_id AS user_id FROM messages ORDER BY chat_id, id"
            ):
                message = {name: row[name] for name in STORED_FIELDS} | {"reactions": []}
                truth.messages[row["chat_id"]][row["id"]] = message
            for row in await connection.fetch(
                "SELECT chat_id, message_id, emoji, array_agg(user_id) AS user_ids FROM reactions"
                " GROUP BY chat_id, message_id, emoji"
            ):
                reaction = {
                    "emoji": row["emoji"],
                    "count": len(row["user_ids"]),
                    "user_ids": row["user_ids"],
                }
                truth.messages[row["chat_id"]][row["message_id"]]["reactions"].append(reaction)
            for row in await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ):
                rows = await connection.fetch(f'SELECT t::text FROM "{row[0]}" t')
                truth.all_rows += "\n".join(each[0] for each in rows)
            return truth
    finally:
        await connection.close()


async def watch_cursors(dsn: str) -> None:
    """Until cancelled: no cursor goes back while its user is a member, or passes the newest message."""
    connection = await asyncpg.connect(dsn)
    before: dict[tuple[int, int, datetime], int] = {}
    try:
        while True:
            rows = await connection.fetch(
                "SELECT m.chat_id, user_id, joined_at, read_id, last_message_id"
                " FROM members m JOIN chats c ON c.id = m.chat_id"
            )
            for row in rows:
                key = (row["chat_id"], row["user_id"], row["joined_at"])
                assert before.get(key, 0) <= row["read_id"] <= row["last_message_id"], (
                    before.get(key),
                    row,
                )
                before[key] = row["read_id"]
            await asyncio.sleep(0.1)
    finally:
        connection.terminate()


def _check_content(book: ExpectedHistory, chat_id: int, message: dict[str, Any], said: str) -> None:
    """It is what was said, or the last acknowledged edit, or one of which nobody knows; or it is gone."""
    if message["deleted_at"] is not None:
        assert message["content"] == "", message
        return
    tried = book.edits.get((chat_id, message["id"]), {})
    last = max(tried, key=lambda content: tried[content], default=said)
    standing = last if tried.get(last, 0) > 0 else said
    unknown = {content for content, version in tried.items() if version == 0}
    assert message["content"] in {standing, *unknown}, f"not what was said: {message}, but {standing}"


def _with_times(message: dict[str, Any]) -> dict[str, Any]:
    """A message of JSON, with times as the database gives them."""
    return message | {
        name: datetime.fromisoformat(message[name]) for name in TIMES if message[name] is not None
    }


def _label(device: Device, chat_id: int = 0) -> str:
    trace = device.traces.get(chat_id, [])
    return f"device {device.number} of user {device.user_id}, chat {chat_id} {trace[-30:]}"
