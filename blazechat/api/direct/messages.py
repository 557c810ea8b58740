"""The direct calls: send a message, list messages, mark messages as read."""

from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from blazechat.api import responses
from blazechat.api.conversations import ConversationMessage
from blazechat.api.direct.call import HOST, DirectCall
from blazechat.api.fields import MAX_ATTACHMENT_IDS, MAX_ID, MAX_LIMIT
from blazechat.api.messages import DEFAULT_LIMIT, relations_of
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.messaging.messages import PageRequest
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message
from blazechat.domain.validation import MAX_CLIENT_ID_CHARACTERS
from blazechat.errors import Error, InvalidInput
from blazechat.vocabulary import Scope

PARAMETERS = frozenset({b"limit", b"before", b"after", b"around", b"skip"})
MAX_ID_DIGITS = 15

BodyId = Annotated[int, Meta(ge=1, le=MAX_ID)]
ClientId = Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT_ID_CHARACTERS)]
AttachmentIds = Annotated[list[BodyId], Meta(max_length=MAX_ATTACHMENT_IDS)]


class NewMessage(Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `api.messages.NewMessage`, with exact types. Whatever else a body has is declined:
    msgspec does not check the UTF-8 of what it skips."""

    content: str = ""
    client_id: ClientId | None = None
    reply_to: BodyId | None = None
    attachments: AttachmentIds = []


class NewConversationMessage(Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `api.conversations.NewConversationMessage`."""

    content: str = ""
    client_id: ClientId | None = None
    attachments: AttachmentIds = []


class Reading(Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `api.messages.Reading`."""

    up_to: Annotated[int, Meta(ge=0, le=MAX_ID)] | None = None


class SendMessage(DirectCall):
    """`POST /api/chats/{chat_id}/messages`."""

    __slots__ = ()
    _decode = msgspec.json.Decoder(NewMessage).decode

    def _start(self, body: bytes) -> bool:
        claims = self._claims(Scope.WRITE)
        if claims is None or not self.request.is_json():
            return False
        try:
            draft = self._draft(body)
        except (msgspec.MsgspecError, ValueError):
            return False
        sender = Sender(claims.user_id, claims.session_id)
        self.context.services.ledger.submit(sender, draft, self._on_result)
        return True

    def _draft(self, body: bytes) -> MessageDraft:
        new = self._decode(body)
        return MessageDraft(self.request.chat_id, new.content, new.client_id, new.reply_to, new.attachments)

    def _on_result(self, result: Message | Error) -> None:
        if isinstance(result, Error):
            self._fail(result)
        else:
            self._stored(result)

    def _stored(self, message: Message) -> None:
        location = b"/api/chats/%d/messages/%d" % (message.chat_id, message.id)
        self._respond(201, responses.encode(message), (b"location", location))


class SendConversationMessage(SendMessage):
    """`POST /api/messages/conversations/{conversation_id}/messages`, with JSON."""

    __slots__ = ()
    _decode_conversation = msgspec.json.Decoder(NewConversationMessage).decode

    def _draft(self, body: bytes) -> MessageDraft:
        new = self._decode_conversation(body)
        return MessageDraft(self.request.chat_id, new.content, new.client_id, attachments=new.attachments)

    def _stored(self, message: Message) -> None:
        self._respond(200, responses.encode(ConversationMessage.of(message)))


class ListMessages(DirectCall):
    """`GET /api/chats/{chat_id}/messages`."""

    __slots__ = ()
    has_query = True

    def _start(self, body: bytes) -> bool:
        claims, wanted = self._claims(Scope.READ), page_request_of(self.request.query)
        host = self.request.headers.get(b"host", b"")
        if claims is None or wanted is None or body or not HOST.fullmatch(host):
            return False
        self._spawn(self._list(claims, wanted))
        return True

    async def _list(self, claims: Claims, wanted: PageRequest) -> None:
        page = await self.context.services.page_cache.page(claims, self.request.chat_id, wanted)
        link = responses.link_header(self._base(), self._kept(), relations_of(page))
        self._respond(200, page.body, *([(b"link", link.encode())] if link else ()))

    def _base(self) -> str:
        headers = self.request.headers
        scheme = self._exchange.scheme(headers.get(b"x-forwarded-proto"))
        return f"{scheme}://{headers[b'host'].decode()}{self.request.path}"

    def _kept(self) -> dict[str, Any]:
        """Return the parameters that a link repeats."""
        pairs = (pair.partition("=") for pair in self.request.query.decode().split("&"))
        return {name: value for name, _, value in pairs if name in responses.KEPT_PARAMETERS}


class MarkRead(DirectCall):
    """`PUT /api/chats/{chat_id}/messages/read`."""

    __slots__ = ()
    _decode = msgspec.json.Decoder(Reading).decode

    def _start(self, body: bytes) -> bool:
        claims = self._claims(Scope.WRITE)
        if claims is None or (body and not self.request.is_json()):
            return False
        try:
            reading = self._decode(body) if body else Reading()
        except (msgspec.MsgspecError, ValueError):
            return False
        self._spawn(self._move(claims, reading.up_to))
        return True

    async def _move(self, claims: Claims, up_to: int | None) -> None:
        cursor = await self.context.services.read_cursors.move(
            chat_id=self.request.chat_id,
            user_id=claims.user_id,
            session_id=claims.session_id,
            up_to=up_to,
        )
        self._respond(200, responses.encode(cursor))


@lru_cache(256)
def page_request_of(query: bytes) -> PageRequest | None:
    """Return the page that a query asks for; None if it is unusual or invalid."""
    values: dict[bytes, int] = {}
    for pair in query.split(b"&") if query else ():
        name, _, digits = pair.partition(b"=")
        is_plain = digits.isdigit() and len(digits) <= MAX_ID_DIGITS and str(int(digits)) == digits.decode()
        if name not in PARAMETERS or name in values or not is_plain:
            return None
        values[name] = int(digits)
    limit, before, around = (
        values.get(b"limit", DEFAULT_LIMIT),
        values.get(b"before"),
        values.get(b"around"),
    )
    if not 1 <= limit <= MAX_LIMIT or 0 in (before, around):
        return None
    try:
        return PageRequest(limit, before, values.get(b"after"), around, values.get(b"skip") or None)
    except InvalidInput:
        return None
