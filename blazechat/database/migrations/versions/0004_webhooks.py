"""Add bots, API tokens, webhooks in both directions, and slash commands"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("kind", sa.Text(), server_default="person", nullable=False))
    op.add_column("users", sa.Column("owner_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key("fk_users_owner_id", "users", "users", ["owner_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_users_kind"), "users", "kind IN ('person', 'bot', 'hook', 'system')"
    )
    op.create_index(
        "ix_users_owner_id", "users", ["owner_id"], postgresql_where=sa.text("owner_id IS NOT NULL")
    )
    op.add_column("sessions", sa.Column("scope", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("chat_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True))
    zero, now = sa.text("0"), sa.text("now()")
    op.add_column("chats", sa.Column("hooks", sa.BigInteger(), server_default=zero, nullable=False))
    op.add_column("messages", sa.Column("shown_as", postgresql.JSONB(), nullable=True))
    op.create_table(
        "incoming_webhooks",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "id", name="pk_incoming_webhooks"),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chats.id"], name="fk_incoming_webhooks_chat_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_incoming_webhooks_user_id"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_incoming_webhooks_session_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("user_id", name="uq_incoming_webhooks_user_id"),
        sa.UniqueConstraint("session_id", name="uq_incoming_webhooks_session_id"),
    )
    op.create_table(
        "slash_commands",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "id", name="pk_slash_commands"),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chats.id"], name="fk_slash_commands_chat_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_slash_commands_user_id"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_slash_commands_session_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("chat_id", "word", name="uq_slash_commands_chat_id_word"),
        sa.UniqueConstraint("user_id", name="uq_slash_commands_user_id"),
        sa.UniqueConstraint("session_id", name="uq_slash_commands_session_id"),
    )
    op.create_table(
        "command_replies",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("command_id", sa.BigInteger(), nullable=False),
        sa.Column("caller_id", sa.BigInteger(), nullable=False),
        sa.Column("left", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "hash", name="pk_command_replies"),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chats.id"], name="fk_command_replies_chat_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_command_replies_expires_at", "command_replies", ["expires_at"])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=True),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_webhooks_owner_id"),
    )
    op.create_index("ix_webhooks_chat_id_id", "webhooks", ["chat_id", "id"])
    op.create_table(
        "deliveries",
        sa.Column("chat_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name="ck_deliveries_state"),
        sa.PrimaryKeyConstraint("chat_id", "id", name="pk_deliveries"),
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["webhook_id", "chat_id", "version", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_deliveries_webhook_id_id", "deliveries", ["webhook_id", "id"])
    op.create_index(
        "ix_deliveries_finished",
        "deliveries",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("chat_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("headers", postgresql.JSONB(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("chat_id", "delivery_id", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["chat_id", "delivery_id"],
            ["deliveries.chat_id", "deliveries.id"],
            name="fk_attempts_chat_id",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    names = ("attempts", "deliveries", "webhooks", "command_replies", "slash_commands", "incoming_webhooks")
    for table in names:
        op.drop_table(table)
    op.drop_column("messages", "shown_as")
    op.drop_column("chats", "hooks")
    op.execute("DELETE FROM sessions WHERE scope IS NOT NULL")
    op.drop_column("sessions", "chat_ids")
    op.drop_column("sessions", "scope")
    op.drop_index("ix_users_owner_id", "users")
    op.drop_constraint(op.f("ck_users_kind"), "users", type_="check")
    op.drop_constraint("fk_users_owner_id", "users")
    op.drop_column("users", "owner_id")
    op.drop_column("users", "kind")
