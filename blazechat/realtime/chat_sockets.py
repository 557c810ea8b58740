"""The chat sockets (`/ws/chat/{chat_id}`) of one chat: they get its new messages in the order of ids."""

from collections.abc import Container, Iterator

from blazechat.domain.schemas.messages import Message
from blazechat.realtime import simple_frames
from blazechat.realtime.connection import Connection


class ChatSockets:
    """The order of ids is not always the order of versions.

    Where versions are missing, the database is read. It returns each message once, at its newest version.
    So a message that was edited meanwhile arrives after messages with greater ids. These wait for it here.
    """

    __slots__ = ("_last_sent_id", "_positions", "_waiting")

    def __init__(self, last_message_id: int) -> None:
        # By connection: the message id after which it gets messages, and the version of its user's joining.
        self._positions: dict[Connection, tuple[int, int]] = {}
        self._last_sent_id = last_message_id
        self._waiting: dict[int, Message] = {}  # by id: messages before which one is missing

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._positions)

    def add(self, connection: Connection, after: int, joined_version: int) -> None:
        """Send a connection the messages with greater ids than `after`."""
        self._positions[connection] = after, joined_version

    def discard(self, connection: Connection) -> None:
        self._positions.pop(connection, None)

    def after(self, connection: Connection) -> int | None:
        """The message id after which a connection gets messages; None if it is not here."""
        position = self._positions.get(connection)
        return position[0] if position is not None else None

    def joined_version(self, connection: Connection) -> int | None:
        """The chat's version at which a connection's user has joined; None if it is not here."""
        position = self._positions.get(connection)
        return position[1] if position is not None else None

    def send(self, message: Message, held: Container[Connection]) -> None:
        """Send a message that is the next by id, and those that wait for it, except to `held`
        connections."""
        if message.id <= self._last_sent_id:
            return
        if message.id > self._last_sent_id + 1:
            self._waiting[message.id] = message
            return
        following: Message | None = message
        while following is not None:
            self._last_sent_id = following.id
            frame = simple_frames.message(following)
            for connection, (after, _) in self._positions.items():
                if following.id > after and connection not in held:
                    connection.send(frame)
            following = self._waiting.pop(self._last_sent_id + 1, None)

    def replay(self, connection: Connection, messages: dict[int, Message]) -> None:
        """Send a connection the messages, by id, that it has missed."""
        if connection not in self._positions or not messages:
            return
        after, joined_version = self._positions[connection]
        for message_id in sorted(messages):
            if message_id > after:
                connection.send(simple_frames.message(messages[message_id]))
        self._positions[connection] = max(after, *messages), joined_version
