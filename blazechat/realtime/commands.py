"""The commands of `/ws`: each is answered with its `ref`.

Sends go to the ledger at once, so that one socket can have many in flight. Commands that need a transaction
are executed one after another, in the order of their arrival (queued_commands.py).
"""

from blazechat.domain.auth.scopes import FULL_GRANT
from blazechat.domain.events import Typing
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Error, InvalidInput, NoSuchChat, TooManyCommands, Unauthenticated
from blazechat.realtime import command_reader, send_path, wire
from blazechat.realtime.connection import Connection
from blazechat.realtime.queued_commands import QueuedCommands
from blazechat.realtime.typing import TypingNow
from blazechat.vocabulary import Scope


class Commands:
    """Decodes, authorises and executes the commands of `/ws` connections."""

    def __init__(self, *, ledger: Ledger, typing: TypingNow, queued: QueuedCommands) -> None:
        self._ledger = ledger
        self._typing = typing
        self._queued = queued

    def receive(self, connection: Connection, text: str | None) -> None:
        """A message has arrived; `text` is None for a binary one."""
        try:
            if not connection.may_command():
                raise TooManyCommands(retry_after=1)
            if text is None:
                raise InvalidInput("This socket takes text frames.")
            command = command_reader.read(text)
            if not connection.verified and not isinstance(command, wire.Auth):
                raise Unauthenticated('Log in first: {"type": "auth", "token": …}.')
            _authorise(connection, command)
        except Error as error:
            refusal = wire.refusal(error, None if text is None else command_reader.ref_of(text))
            (connection.send if connection.verified else connection.send_before_login)(refusal)
            return
        if isinstance(command, wire.Send):
            self._send(connection, command)
        elif isinstance(command, wire.TypingCommand):
            self._type(connection, command)
        elif isinstance(command, wire.Ping):
            connection.send(_PONG if command.ref is None else wire.frame(wire.Ack(command.ref)))
        elif not isinstance(command, wire.Pong):
            self._queued.add(connection, command)

    def _send(self, connection: Connection, command: wire.Send) -> None:
        ref = command.ref

        def on_result(result: Message | Error) -> None:
            connection.end_command()
            if isinstance(result, Error):
                connection.send(wire.refusal(result, ref))
            elif ref is not None:
                ack = wire.Ack(ref, result.chat_id, result.id, result.version, result.created_at)
                connection.send(wire.frame(ack))

        draft = MessageDraft(
            command.chat_id, command.content, command.client_id, command.reply_to, command.attachments
        )
        send_path.submit(self._ledger, connection, draft, on_result)

    def _type(self, connection: Connection, command: wire.TypingCommand) -> None:
        """Check membership by `chat_ids`: the hub removes a chat from it when the membership ends."""
        if command.chat_id not in connection.chat_ids:
            connection.send(wire.refusal(_NO_CHAT, command.ref))
            return
        self._typing.receive(Typing(command.chat_id, connection.user_id, command.typing))
        if command.ref is not None:
            connection.send(wire.frame(wire.Ack(command.ref)))


_PONG = wire.frame(wire.PongEvent())
_NO_CHAT = NoSuchChat()


_READ_COMMANDS = (
    wire.Auth,
    wire.Subscribe,
    wire.Unsubscribe,
    wire.Resume,
    wire.Ping,
    wire.Pong,
)
"""Commands that the scope `read` permits; all others need `write`."""


def _authorise(connection: Connection, command: wire.AnyCommand) -> None:
    """Check that the connection's token permits a command. Raises InsufficientScope, NotFound."""
    if connection.grant is FULL_GRANT:
        return
    if not isinstance(command, _READ_COMMANDS):
        connection.grant.require(Scope.WRITE)
    chat_id = getattr(command, "chat_id", None)
    if chat_id is not None:
        connection.grant.require_chat(chat_id)
