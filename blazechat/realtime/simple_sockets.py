"""Commands of the two simple sockets: messages on `/ws/chat/{chat_id}`, a status on `/ws/status`."""

from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Error, InvalidInput, TooManyCommands
from blazechat.realtime import send_path, simple_frames
from blazechat.realtime.connection import Connection, Kind
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import PresenceTracker
from blazechat.vocabulary import Scope


class SimpleSockets:
    """Handles what clients send on the simple sockets."""

    def __init__(self, ledger: Ledger, hub: Hub, presence: PresenceTracker) -> None:
        self._ledger = ledger
        self._hub = hub
        self._presence = presence

    def receive(self, connection: Connection, text: str | None) -> None:
        """A message has arrived; `text` is None for a binary one."""
        try:
            if not connection.may_command():
                raise TooManyCommands(retry_after=1)
            if text is None:
                raise InvalidInput("This socket takes text frames.")
            connection.grant.require(Scope.WRITE)
            if connection.kind is Kind.STATUS:
                self._presence.choose(connection.user_id, simple_frames.read_status(text))
            else:
                self._send(connection, text)
        except Error as error:
            connection.send(simple_frames.error(connection.kind, error))

    def _send(self, connection: Connection, text: str) -> None:
        """Submit a message. Its author gets it back as every member does, or an error."""
        (chat_id,) = connection.chat_ids or (0,)

        def on_result(result: Message | Error) -> None:
            connection.end_command()
            if isinstance(result, Error):
                connection.send(simple_frames.error(connection.kind, result))
            else:
                self._hub.resend_own_message(connection, result)

        new = simple_frames.read_message(text)
        draft = MessageDraft(chat_id, new.content, new.client_id, new.reply_to, new.attachments)
        send_path.submit(self._ledger, connection, draft, on_result)
