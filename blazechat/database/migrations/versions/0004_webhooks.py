"""Bots, API tokens and webhooks"""

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


def downgrade() -> None:
    op.execute("DELETE FROM sessions WHERE scope IS NOT NULL")
    op.drop_column("sessions", "chat_ids")
    op.drop_column("sessions", "scope")
    op.drop_index("ix_users_owner_id", "users")
    op.drop_constraint(op.f("ck_users_kind"), "users", type_="check")
    op.drop_constraint("fk_users_owner_id", "users")
    op.drop_column("users", "owner_id")
    op.drop_column("users", "kind")
