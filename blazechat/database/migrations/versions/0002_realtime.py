"""Add reactions, pins, tickets, and the number of a chat's members"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    zero = sa.text("0")
    op.create_table(
        "reactions",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("emoji", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("chat_id", "message_id", "emoji", "user_id", name="pk_reactions"),
    )
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_tickets_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name="pk_tickets"),
    )
    op.create_index("ix_tickets_session_id", "tickets", ["session_id"])
    op.add_column("messages", sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "messages", sa.Column("reaction_count", sa.BigInteger(), server_default=zero, nullable=False)
    )
    op.create_index(
        "ix_messages_pinned",
        "messages",
        ["chat_id", "pinned_at"],
        postgresql_where=sa.text("pinned_at IS NOT NULL"),
    )
    # The author comes first in the key: tables.py says why.
    op.drop_constraint("uq_messages_chat_id_author_id_client_id", "messages")
    op.create_unique_constraint(
        "uq_messages_author_id_client_id_chat_id", "messages", ["author_id", "client_id", "chat_id"]
    )
    op.add_column(
        "members", sa.Column("joined_version", sa.BigInteger(), server_default=zero, nullable=False)
    )
    op.add_column("chats", sa.Column("member_count", sa.BigInteger(), server_default=zero, nullable=False))
    op.execute(
        "UPDATE chats SET member_count = m.count"
        " FROM (SELECT chat_id, count(*) FROM members GROUP BY chat_id) m WHERE m.chat_id = chats.id"
    )


def downgrade() -> None:
    op.drop_column("chats", "member_count")
    op.drop_column("members", "joined_version")
    op.drop_constraint("uq_messages_author_id_client_id_chat_id", "messages")
    op.create_unique_constraint(
        "uq_messages_chat_id_author_id_client_id", "messages", ["chat_id", "author_id", "client_id"]
    )
    op.drop_index("ix_messages_pinned", "messages")
    op.drop_column("messages", "reaction_count")
    op.drop_column("messages", "pinned_at")
    op.drop_table("tickets")
    op.drop_table("reactions")
