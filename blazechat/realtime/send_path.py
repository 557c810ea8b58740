"""The send path of sockets: a draft goes to the ledger, and counts as in flight until its result."""

from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, OnResult, Sender
from blazechat.errors import Error
from blazechat.realtime.connection import Connection


def submit(ledger: Ledger, connection: Connection, draft: MessageDraft, on_result: OnResult) -> None:
    """Submit a message of the connection's user.

    `on_result` is called once, with errors as well. It has to call `connection.end_command()` first: a
    wrapper that does so would cost every message a call.
    """
    connection.begin_command()
    try:
        ledger.submit(Sender(connection.user_id, connection.session_id), draft, on_result)
    except Error as error:
        on_result(error)
