"""All tables on one page.

Every table that belongs to a chat has `chat_id` first in its primary key, so that the schema can be
sharded by chat. Messages have no foreign keys: the ledger takes their chat and author from rows that
it reads in the same statement, users are never removed, and a chat takes its messages with it (see
docs/decisions/0002-group-commit.md). The columns are explained where a name does not say it all.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        int: BigInteger,
        str: Text,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
    }


class User(Table):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    username: Mapped[str]
    username_key: Mapped[str | None]
    """The name folded for comparison; null once the account is deleted."""
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    display_name: Mapped[str]
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(server_default=text("false"))
    kind: Mapped[str] = mapped_column(server_default="person")
    """A `person` with a password, a `bot` of one, or the `hook` that speaks for an incoming webhook."""
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Whose bot or hook it is."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("kind IN ('person', 'bot', 'hook', 'system')", name="kind"),
        Index("ix_users_owner_id", "owner_id", postgresql_where=text("owner_id IS NOT NULL")),
        # text_pattern_ops serves equality and finding by the beginning of a name, in any locale.
        Index(
            "uq_users_username_key",
            "username_key",
            unique=True,
            postgresql_ops={"username_key": "text_pattern_ops"},
        ),
        Index("uq_users_email_key", "email_key", unique=True),
    )


class Session(Table):
    """A log-in on one device: a family of refresh tokens, of which the newest alone is good.

    Or an API token, whose hash is the family's, and which has a scope.
    """

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    family_hash: Mapped[bytes] = mapped_column(unique=True)
    token_hash: Mapped[bytes]
    device: Mapped[str]
    """Of an API token: its name."""
    address: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    scope: Mapped[str | None]
    """Of an API token; null for a log-in."""
    chat_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The only chats that an API token is good for."""

    __table_args__ = (Index(None, "user_id"),)


class Invitation(Table):
    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(unique=True)
    created_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


class Ticket(Table):
    """Opens one socket in place of an access token, for programs that cannot set a header."""

    __tablename__ = "tickets"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[int]
    expires_at: Mapped[datetime]

    __table_args__ = (Index(None, "session_id"),)


class Chat(Table):
    __tablename__ = "chats"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    history: Mapped[str] = mapped_column(server_default="all")
    """Who may read what was said before they joined: everybody (`all`) or nobody (`joined`)."""
    direct_low: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    direct_high: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """The pair of a direct chat, the smaller id first."""
    last_message_id: Mapped[int] = mapped_column(server_default=text("0"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    """Raised by one with every change in the chat."""
    info_version: Mapped[int] = mapped_column(server_default=text("1"))
    """The version that last changed the chat itself: its name, its settings or its members."""
    member_count: Mapped[int] = mapped_column(server_default=text("0"))
    hooks: Mapped[int] = mapped_column(server_default=text("0"))
    """How many webhooks are told of its events: a send to a chat without any need not look for them."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("kind IN ('direct', 'group')", name="kind"),
        CheckConstraint("history IN ('all', 'joined')", name="history"),
        CheckConstraint("(kind = 'direct') = (direct_low IS NOT NULL)", name="direct_pair"),
        UniqueConstraint("direct_low", "direct_high"),
        # Every send updates its chat's row: room for the next version of it on the same page.
        {"postgresql_with": {"fillfactor": "50"}},
    )


class Member(Table):
    __tablename__ = "members"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str]
    read_id: Mapped[int] = mapped_column(server_default=text("0"))
    """The read cursor: everything up to this message has been read."""
    joined_id: Mapped[int] = mapped_column(server_default=text("0"))
    """The newest message when they joined."""
    joined_version: Mapped[int] = mapped_column(server_default=text("0"))
    """The version of the chat that their joining brought about."""
    joined_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        Index(None, "user_id"),
        {"postgresql_with": {"fillfactor": "80"}},
    )


class Message(Table):
    __tablename__ = "messages"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Its place in the chat: 1, 2, 3, … without holes."""
    version: Mapped[int]
    author_id: Mapped[int]
    content: Mapped[str]
    client_id: Mapped[str]
    digest: Mapped[int | None]
    """Of what was sent, to tell a retry from another message under its client_id; null once deleted."""
    reply_to: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    edited_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    pinned_at: Mapped[datetime | None]
    reaction_count: Mapped[int] = mapped_column(server_default=text("0"))
    """How many rows of `reactions` it has, so that most messages need not look."""
    attachment_count: Mapped[int] = mapped_column(server_default=text("0"))
    """The same for `attachments`."""
    shown_as: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of what came by an incoming webhook: the `name` and the `icon_url` that it wants to be shown with."""

    __table_args__ = (
        # The author first, so that the ledger can look a client_id up by this index and by no other:
        # with statistics of an empty table the planner would take one that reads the whole chat.
        UniqueConstraint("author_id", "client_id", "chat_id"),
        Index(None, "chat_id", "version"),
        Index("ix_messages_pinned", "chat_id", "pinned_at", postgresql_where=text("pinned_at IS NOT NULL")),
    )


class Reaction(Table):
    """No foreign keys, as for messages: whoever removes a message or a chat removes its reactions."""

    __tablename__ = "reactions"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    emoji: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Blob(Table):
    """A content, stored once however often it was uploaded; its bytes are in `pieces`."""

    __tablename__ = "blobs"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    digest: Mapped[bytes | None] = mapped_column(unique=True)
    """SHA-256 of what was uploaded; null until all of it has arrived, and once nobody needs it any more."""
    size: Mapped[int | None]
    """In bytes, as announced; null until it is known."""
    received: Mapped[int] = mapped_column(server_default=text("0"))
    media_type: Mapped[str | None]
    """From here on: what its bytes say."""
    width: Mapped[int | None]
    height: Mapped[int | None]
    duration: Mapped[float | None] = mapped_column(Double())
    """In seconds."""
    placeholder: Mapped[bytes | None]
    """A ThumbHash."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    loose_at: Mapped[datetime | None]
    """Since when perhaps nobody needs it; whoever sweeps looks again."""

    __table_args__ = (Index("ix_blobs_loose", "loose_at", postgresql_where=text("loose_at IS NOT NULL")),)


class Piece(Table):
    """An object in the storage. Its row is there before the object is, so that none is ever forgotten."""

    __tablename__ = "pieces"

    key: Mapped[str] = mapped_column(primary_key=True)
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"))
    part: Mapped[str]
    """Of which part of the blob it is: its `content`, or a thumbnail of it."""
    position: Mapped[int] = mapped_column(server_default=text("0"))
    """Where in the content it begins."""
    size: Mapped[int]
    width: Mapped[int | None]
    height: Mapped[int | None]
    stored: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("part IN ('content', 'small', 'large')", name="part"),
        Index(None, "blob_id", "part", "position"),
        Index("ix_pieces_unstored", "created_at", postgresql_where=text("NOT stored")),
    )


class Media(Table):
    """A file that somebody uploads or has uploaded. Who else may see it, `attachments` say."""

    __tablename__ = "media"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"))
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ready_at: Mapped[datetime | None]
    """When all of it had arrived and was looked at."""
    expires_at: Mapped[datetime | None]
    """When it disappears; null while a message has it."""

    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "blob_id"),
        Index("ix_media_expires", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )


class Attachment(Table):
    """No foreign keys, as for messages: whoever removes a message or a chat removes its attachments."""

    __tablename__ = "attachments"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    media_id: Mapped[int]

    __table_args__ = (Index(None, "chat_id", "media_id"), Index(None, "media_id"))


class IncomingWebhook(Table):
    """Speaks in a chat as its user, with a token that is a row of `sessions`."""

    __tablename__ = "incoming_webhooks"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SlashCommand(Table):
    """A word of a chat that another program answers; it speaks as its user."""

    __tablename__ = "slash_commands"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    word: Mapped[str]
    url: Mapped[str]
    description: Mapped[str]
    secret: Mapped[str]
    base_url: Mapped[str] = mapped_column(server_default="")
    """How whoever made it reached this server, for the URLs of later answers."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (UniqueConstraint("chat_id", "word"),)


class CommandReply(Table):
    """A slash command that was given, and may yet be answered by its response URL."""

    __tablename__ = "command_replies"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    command_id: Mapped[int]
    caller_id: Mapped[int]
    left: Mapped[int]
    """How many answers it takes yet."""
    expires_at: Mapped[datetime]

    __table_args__ = (Index(None, "expires_at"),)


class Webhook(Table):
    """Is told of events, of one chat or of all. It outlives its chat, to tell that the chat is gone."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chat_id: Mapped[int | None]
    """Without one, it is told of all chats."""
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[str]
    """Signs what is sent, so it is kept as it is."""
    old_secret: Mapped[str | None]
    old_until: Mapped[datetime | None]
    """Until then, what is sent is signed with the secret before, too."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]

    __table_args__ = (Index(None, "chat_id", "id"), Index(None, "owner_id"))


class Delivery(Table):
    """The outbox: an event that a webhook is to be told of, written with the change that brought it about.

    No foreign keys, as for messages: the ledger writes it. What it says of a message is read when it is
    sent, so that nothing that was deleted leaves; what it says of the chat is in `body`.
    """

    __tablename__ = "deliveries"

    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 for what is not about a chat: a ping."""
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    webhook_id: Mapped[int]
    version: Mapped[int]
    type: Mapped[str]
    message_id: Mapped[int | None]
    body: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="waiting")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When to try; while somebody tries, when to take them for dead."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name="state"),
        Index(
            "ix_deliveries_waiting",
            "webhook_id",
            "chat_id",
            "version",
            "id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(None, "webhook_id", "id"),
        Index("ix_deliveries_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )


class Attempt(Table):
    """One call of a delivery, and what came of it."""

    __tablename__ = "attempts"

    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    delivery_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float] = mapped_column(Double())
    status: Mapped[int | None]
    """Of the answer; null if there was none, and `error` says why."""
    error: Mapped[str | None]
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    answer: Mapped[str | None]

    __table_args__ = (
        ForeignKeyConstraint(
            ["chat_id", "delivery_id"], ["deliveries.chat_id", "deliveries.id"], ondelete="CASCADE"
        ),
    )
