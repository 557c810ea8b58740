"""Read cursors of authors in the row of their chat; a version of all sessions and names"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

RAISE_AUTH_VERSION = """
CREATE FUNCTION raise_auth_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE auth_version SET version = version + 1, raised_by = pg_current_xact_id()::text::int8
    WHERE raised_by <> pg_current_xact_id()::text::int8;
    RETURN NULL;
END
$$
"""
TRIGGERS = (
    """
    CREATE CONSTRAINT TRIGGER session_ended AFTER UPDATE OF user_id, expires_at, revoked_at ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (
        OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL
        OR NEW.expires_at < OLD.expires_at OR NEW.user_id <> OLD.user_id
    )
    EXECUTE FUNCTION raise_auth_version()
    """,
    """
    CREATE CONSTRAINT TRIGGER session_deleted AFTER DELETE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > now())
    EXECUTE FUNCTION raise_auth_version()
    """,
    """
    CREATE CONSTRAINT TRIGGER user_renamed AFTER UPDATE OF username, display_name ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.username <> OLD.username OR NEW.display_name <> OLD.display_name)
    EXECUTE FUNCTION raise_auth_version()
    """,
)
"""Deferred: the row is updated last, so that its lock is held for a moment and cannot cause a deadlock."""


def upgrade() -> None:
    for name in ("author_ids", "author_read_ids"):
        column: sa.Column[list[int]] = sa.Column(
            name, postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False
        )
        op.add_column("chats", column)
    op.create_table(
        "auth_version",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("raised_by", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_auth_version_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_version")),
    )
    op.execute("INSERT INTO auth_version (id) VALUES (1)")
    op.execute(RAISE_AUTH_VERSION)
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    op.execute(
        "UPDATE members SET read_id = greatest(members.read_id, a.read_id)"
        " FROM chats c, unnest(c.author_ids, c.author_read_ids) AS a (user_id, read_id)"
        " WHERE members.chat_id = c.id AND members.user_id = a.user_id"
    )
    op.execute("DROP TRIGGER user_renamed ON users")
    op.execute("DROP TRIGGER session_deleted ON sessions")
    op.execute("DROP TRIGGER session_ended ON sessions")
    op.execute("DROP FUNCTION raise_auth_version")
    op.drop_table("auth_version")
    op.drop_column("chats", "author_read_ids")
    op.drop_column("chats", "author_ids")
