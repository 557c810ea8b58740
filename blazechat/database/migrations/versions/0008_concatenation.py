"""Partial uploads, and the parts of which an upload was put together (tus)"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "media", sa.Column("is_partial", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("media", sa.Column("parts", postgresql.JSONB(none_as_null=True), nullable=True))
    op.create_index("ix_media_parts", "media", ["user_id"], postgresql_where=sa.text("parts IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_media_parts", "media")
    op.drop_column("media", "parts")
    op.drop_column("media", "is_partial")
