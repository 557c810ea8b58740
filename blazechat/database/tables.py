"""All database tables: one class per table. Each docstring says what a row is, and what a column holds.

Every table of chat data has `chat_id` first in its primary key, so that the schema can be sharded by chat.

Messages have no foreign keys. The ledger takes their chat and author from rows that it reads in the same
statement; rows of users are never deleted; deleting a chat deletes its messages
(docs/decisions/0002-group-commit.md).

Columns whose name says everything have no docstring. Times have a time zone. `…_at` columns of what has not
happened yet are null.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ColumnElement,
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
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """Base class: names of constraints, and column types by Python type."""

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
    """An account: a person, a bot, or the author of an integration's messages."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    username: Mapped[str]
    username_key: Mapped[str | None]
    """The name folded for comparison, unique; null once the account is deleted, so that the name is free
    again."""
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    """The address folded for comparison, unique; null once the account is deleted."""
    display_name: Mapped[str]
    password_hash: Mapped[str | None]
    """A bcrypt hash; null for accounts without a password."""
    is_admin: Mapped[bool] = mapped_column(server_default=text("false"))
    kind: Mapped[str] = mapped_column(server_default="person")
    """`person`: has a password. `bot`: belongs to a person. `hook`: author of the messages of an incoming
    webhook or a slash command. `system`: author of the server's own messages."""
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """The person to whom a bot or hook belongs."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen: Mapped[datetime | None]
    """When the user was last online; null before the first time."""
    deleted_at: Mapped[datetime | None]
    """The row stays, because messages refer to it."""

    __table_args__ = (
        CheckConstraint("kind IN ('person', 'bot', 'hook', 'system')", name="kind"),
        Index("ix_users_owner_id", "owner_id", postgresql_where=text("owner_id IS NOT NULL")),
        # text_pattern_ops serves equality and prefix search, in any locale.
        Index(
            "uq_users_username_key",
            "username_key",
            unique=True,
            postgresql_ops={"username_key": "text_pattern_ops"},
        ),
        Index("uq_users_email_key", "email_key", unique=True),
        Index(
            "ix_users_display_name_words",
            text("to_tsvector('simple'::regconfig, display_name)"),
            postgresql_using="gin",
        ),
    )


DISPLAY_NAME_WORDS: ColumnElement[str] = literal_column(
    "to_tsvector('simple'::regconfig, users.display_name)"
)
"""The words of a display name, as the index has them."""


class Session(Table):
    """A log-in on one device, or an API token.

    A log-in is a family of refresh tokens, of which only the newest is valid. An API token has a scope, and
    its hash is in `family_hash`.
    """

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    family_hash: Mapped[bytes] = mapped_column(unique=True)
    """Hash of the part that all refresh tokens of the session share."""
    token_hash: Mapped[bytes]
    """Hash of the other part of the newest refresh token."""
    device: Mapped[str]
    """What the device calls itself; for an API token, its name."""
    address: Mapped[str]
    """The client's IP address at the log-in."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    """When the session was ended before it expired."""
    scope: Mapped[str | None]
    """The scope of an API token; null for a log-in."""
    chat_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The only chats in which an API token is valid; null for all chats."""

    __table_args__ = (Index(None, "user_id"),)


class AuthVersion(Table):
    """One row. A transaction that ends a session or renames a user raises its version when it commits.

    Triggers do that (migration 0009), so no code can forget it. A session that was valid at a version is
    valid as long as the version is the same and the session has not expired.
    """

    __tablename__ = "auth_version"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    version: Mapped[int] = mapped_column(server_default=text("1"))
    raised_by: Mapped[int] = mapped_column(server_default=text("0"))
    """The id of the last transaction that raised it. A transaction raises it once."""

    __table_args__ = (CheckConstraint("id = 1", name="only_row"),)


class Invitation(Table):
    """A code with which one person may register while registration is by invitation."""

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(unique=True)
    created_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


class Ticket(Table):
    """A ticket that opens one socket in place of an access token, for clients that cannot set a header."""

    __tablename__ = "tickets"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[int]
    expires_at: Mapped[datetime]

    __table_args__ = (Index(None, "session_id"),)


class Chat(Table):
    """A direct chat of two users, or a group."""

    __tablename__ = "chats"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    history: Mapped[str] = mapped_column(server_default="all")
    """`all`: members may read messages from before they joined. `joined`: they may not."""
    direct_low: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    direct_high: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """The two users of a direct chat, the smaller id first."""
    last_message_id: Mapped[int] = mapped_column(server_default=text("0"))
    """The id of the newest message; 0 before the first."""
    version: Mapped[int] = mapped_column(server_default=text("1"))
    """Every change in the chat raises it by one."""
    info_version: Mapped[int] = mapped_column(server_default=text("1"))
    """The version that last changed the chat itself: its name, its settings or its members."""
    member_count: Mapped[int] = mapped_column(server_default=text("0"))
    """The number of rows of `members`."""
    hooks: Mapped[int] = mapped_column(server_default=text("0"))
    """The number of the chat's enabled webhooks. While it is 0, a send need not search for them."""
    author_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    """Members who have sent messages, and whose read cursors `members.read_id` does not have yet. One
    update of this row per batch is cheaper than one of `members` per author."""
    author_read_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    """The read cursors of `author_ids`, in the same order: the id of each author's newest message."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("kind IN ('direct', 'group')", name="kind"),
        CheckConstraint("history IN ('all', 'joined')", name="history"),
        CheckConstraint("(kind = 'direct') = (direct_low IS NOT NULL)", name="direct_pair"),
        UniqueConstraint("direct_low", "direct_high"),
        # Every send updates its chat's row; free space keeps the next row version on the same page.
        {"postgresql_with": {"fillfactor": "50"}},
    )


class Member(Table):
    """The membership of a user in a chat, with the user's read cursor."""

    __tablename__ = "members"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str]
    read_id: Mapped[int] = mapped_column(server_default=text("0"))
    """The read cursor: the member has read all messages up to this id. The chat might have a greater one in
    `author_read_ids`; READ_CURSOR is the greater one of both."""
    joined_id: Mapped[int] = mapped_column(server_default=text("0"))
    """The id of the chat's newest message when the member joined."""
    joined_version: Mapped[int] = mapped_column(server_default=text("0"))
    """The chat's version that added the member."""
    joined_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        Index(None, "user_id"),
        {"postgresql_with": {"fillfactor": "80"}},
    )


READ_CURSOR: ColumnElement[int] = func.greatest(
    Member.read_id, Chat.author_read_ids[func.array_position(Chat.author_ids, Member.user_id)]
)
"""The read cursor of a member, in a query of members and their chats."""


class Message(Table):
    """A message in its current state, inserted by the ledger. A deleted message stays, without its
    content."""

    __tablename__ = "messages"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The position in the chat: 1, 2, 3, … without holes."""
    version: Mapped[int]
    """The chat's version that last changed the message."""
    author_id: Mapped[int]
    content: Mapped[str]
    client_id: Mapped[str]
    """The idempotency key of the send, from the client or from the ledger; unique per author and chat."""
    digest: Mapped[int | None]
    """64-bit digest of the send's body, to distinguish a retry from another message under the same
    `client_id`. Null for a `client_id` from the ledger, and once the message is deleted."""
    reply_to: Mapped[int | None]
    """The id of the message in the same chat to which this one replies."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    edited_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    pinned_at: Mapped[datetime | None]
    reaction_count: Mapped[int] = mapped_column(server_default=text("0"))
    """The number of rows of `reactions`. While it is 0, readers skip that table."""
    attachment_count: Mapped[int] = mapped_column(server_default=text("0"))
    """The same for `attachments`."""
    shown_as: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """For a message of an integration: the `name` and `icon_url` to show in place of the author's."""

    __table_args__ = (
        # The author comes first, so that the ledger's lookup of a client_id can use this index only. With
        # the statistics of an empty table the planner would choose an index that reads the whole chat.
        UniqueConstraint("author_id", "client_id", "chat_id"),
        Index(None, "chat_id", "version"),
        Index("ix_messages_pinned", "chat_id", "pinned_at", postgresql_where=text("pinned_at IS NOT NULL")),
    )


class Reaction(Table):
    """An emoji with which a user has reacted to a message.

    No foreign keys, as for messages: the code that deletes a message or a chat deletes its reactions.
    """

    __tablename__ = "reactions"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    emoji: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Blob(Table):
    """The content of files, stored once per content even if it is uploaded several times; `pieces` lists
    its bytes."""

    __tablename__ = "blobs"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    digest: Mapped[bytes | None] = mapped_column(unique=True)
    """SHA-256 of the uploaded bytes; null until the upload is complete, and again once no file uses the
    content."""
    size: Mapped[int | None]
    """Bytes, as declared by the upload; null until it is known."""
    received: Mapped[int] = mapped_column(server_default=text("0"))
    """Bytes received so far."""
    media_type: Mapped[str | None]
    """Detected from the bytes, as are the next four columns."""
    width: Mapped[int | None]
    height: Mapped[int | None]
    duration: Mapped[float | None] = mapped_column(Double())
    """Seconds."""
    placeholder: Mapped[bytes | None]
    """A ThumbHash of an image."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    loose_at: Mapped[datetime | None]
    """When a file stopped using the content. The sweeper checks whether another file uses it, before it
    deletes it."""

    __table_args__ = (Index("ix_blobs_loose", "loose_at", postgresql_where=text("loose_at IS NOT NULL")),)


class Piece(Table):
    """An object in the file storage: a part of a blob's content, or a thumbnail.

    The row is inserted before the object is written, so that every object is known and can be deleted.
    """

    __tablename__ = "pieces"

    key: Mapped[str] = mapped_column(primary_key=True)
    """The object's key in the storage."""
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"))
    part: Mapped[str]
    """`content`, or the size of a thumbnail: `small` or `large`."""
    position: Mapped[int] = mapped_column(server_default=text("0"))
    """Byte offset of the piece in the content."""
    size: Mapped[int]
    """Bytes."""
    width: Mapped[int | None]
    """Pixels of a thumbnail."""
    height: Mapped[int | None]
    stored: Mapped[bool] = mapped_column(server_default=text("false"))
    """True once the object is written."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("part IN ('content', 'small', 'large')", name="part"),
        Index(None, "blob_id", "part", "position"),
        Index("ix_pieces_unstored", "created_at", postgresql_where=text("NOT stored")),
    )


class Media(Table):
    """An uploaded file, or an upload in progress. Its owner may read it, and members of chats with an
    attachment."""

    __tablename__ = "media"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    """The uploader."""
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"))
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ready_at: Mapped[datetime | None]
    """When the upload was complete and inspected. Messages can attach the file from then on."""
    expires_at: Mapped[datetime | None]
    """When the file is deleted; null while a message has it."""
    is_partial: Mapped[bool] = mapped_column(server_default=text("false"))
    """True for a part of a later upload (tus concatenation), which becomes no file by itself."""
    parts: Mapped[list[list[int]] | None] = mapped_column(JSONB(none_as_null=True))
    """The ids and sizes of the partial uploads of which this one was put together."""

    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "blob_id"),
        Index("ix_media_expires", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("ix_media_parts", "user_id", postgresql_where=text("parts IS NOT NULL")),
    )


class Attachment(Table):
    """A file of a message.

    No foreign keys, as for messages: the code that deletes a message or a chat deletes its attachments.
    """

    __tablename__ = "attachments"

    chat_id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The position among the files of the message."""
    media_id: Mapped[int]

    __table_args__ = (Index(None, "chat_id", "media_id"), Index(None, "media_id"))


class IncomingWebhook(Table):
    """A URL at which another program posts messages to a chat."""

    __tablename__ = "incoming_webhooks"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    """The author of its messages, a user of kind `hook`."""
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), unique=True)
    """The API token in its URL."""
    template: Mapped[str | None]
    """The template that makes messages from posts, or the name of a ready-made one."""
    last_error_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    """Why the template could not display the last post that failed; None since its last change."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SlashCommand(Table):
    """A slash command of a chat, which the server passes to another program."""

    __tablename__ = "slash_commands"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    word: Mapped[str]
    """The command itself, as `/deploy`."""
    url: Mapped[str]
    """Where the server posts calls of the command."""
    description: Mapped[str]
    secret: Mapped[str]
    """The key that signs calls; stored in the clear, because signing needs it."""
    base_url: Mapped[str] = mapped_column(server_default="")
    """The URL by which the creator of the command reached this server; response URLs begin with it."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    """The author of its responses, a user of kind `hook`."""
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), unique=True)
    """The session with which the ledger stores its responses."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (UniqueConstraint("chat_id", "word"),)


class CommandReply(Table):
    """The response URL of one call of a slash command, at which the program may respond later."""

    __tablename__ = "command_replies"

    chat_id: Mapped[int] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    """Hash of the token in the URL."""
    command_id: Mapped[int]
    caller_id: Mapped[int]
    """The member who called the command."""
    left: Mapped[int]
    """The number of further responses that are accepted."""
    expires_at: Mapped[datetime]

    __table_args__ = (Index(None, "expires_at"),)


class Webhook(Table):
    """A URL to which the server posts the events of one chat, or of all chats.

    The row outlives its chat, so that `chat.deleted` can be delivered.
    """

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chat_id: Mapped[int | None]
    """Null for all chats."""
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    """The user who created it."""
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """The types of events that it receives."""
    secret: Mapped[str]
    """The key that signs requests; stored in the clear, because signing needs it."""
    old_secret: Mapped[str | None]
    """The key before the last rotation."""
    old_until: Mapped[datetime | None]
    """Until then, requests are signed with `old_secret` as well."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    failing_since: Mapped[datetime | None]
    """The first failed call since the last successful one."""
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]
    """The reason, in words for the owner."""

    __table_args__ = (Index(None, "chat_id", "id"), Index(None, "owner_id"))


class Delivery(Table):
    """One event for one webhook: waiting in the outbox, delivered, or given up.

    The row is written in the transaction of the change that caused the event. No foreign keys, as for
    messages: the ledger writes it. The message of the event is read just before each call, so that deleted
    content never leaves the server. Other events have their data in `body`.
    """

    __tablename__ = "deliveries"

    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 for an event without a chat: a ping."""
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    webhook_id: Mapped[int]
    version: Mapped[int]
    """The chat's version that the event made. A webhook receives a chat's events in this order."""
    type: Mapped[str]
    message_id: Mapped[int | None]
    """The message of the event; null for events about the chat or its members."""
    body: Mapped[str | None]
    """The event as JSON; null if it is about a message."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    """`waiting`; `delivered`; `dead` if it was given up."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the next try is due. While a worker has leased the delivery: when the lease ends."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    """The number of calls so far; 0 again after a redelivery was requested."""
    finished_at: Mapped[datetime | None]
    """When it was delivered or given up."""

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
    """One call to a webhook for a delivery, and its result."""

    __tablename__ = "attempts"

    chat_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    delivery_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """1, 2, 3, … in the delivery."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float] = mapped_column(Double())
    """Duration of the call."""
    status: Mapped[int | None]
    """The response's HTTP status; null if there was no response, and `error` says why."""
    error: Mapped[str | None]
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Headers of the response."""
    answer: Mapped[str | None]
    """The start of the response's body."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["chat_id", "delivery_id"], ["deliveries.chat_id", "deliveries.id"], ondelete="CASCADE"
        ),
    )
