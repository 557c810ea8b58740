"""Add files: contents, stored pieces, uploads and attachments"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    zero, now = sa.text("0"), sa.text("now()")
    op.create_table(
        "blobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("placeholder", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("loose_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_blobs"),
        sa.UniqueConstraint("digest", name="uq_blobs_digest"),
    )
    op.create_index(
        "ix_blobs_loose", "blobs", ["loose_at"], postgresql_where=sa.text("loose_at IS NOT NULL")
    )
    op.create_table(
        "pieces",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("blob_id", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("stored", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.CheckConstraint("part IN ('content', 'small', 'large')", name="ck_pieces_part"),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name="fk_pieces_blob_id"),
        sa.PrimaryKeyConstraint("key", name="pk_pieces"),
    )
    op.create_index("ix_pieces_blob_id_part_position", "pieces", ["blob_id", "part", "position"])
    op.create_index("ix_pieces_unstored", "pieces", ["created_at"], postgresql_where=sa.text("NOT stored"))
    op.create_table(
        "media",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("blob_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_media_user_id"),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name="fk_media_blob_id"),
        sa.PrimaryKeyConstraint("id", name="pk_media"),
    )
    op.create_index("ix_media_user_id_id", "media", ["user_id", "id"])
    op.create_index("ix_media_blob_id", "media", ["blob_id"])
    op.create_index(
        "ix_media_expires", "media", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.create_table(
        "attachments",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("media_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "message_id", "place", name="pk_attachments"),
    )
    op.create_index("ix_attachments_chat_id_media_id", "attachments", ["chat_id", "media_id"])
    op.create_index("ix_attachments_media_id", "attachments", ["media_id"])
    op.add_column(
        "messages", sa.Column("attachment_count", sa.BigInteger(), server_default=zero, nullable=False)
    )


def downgrade() -> None:
    op.drop_column("messages", "attachment_count")
    for table in ("attachments", "media", "pieces", "blobs"):
        op.drop_table(table)
