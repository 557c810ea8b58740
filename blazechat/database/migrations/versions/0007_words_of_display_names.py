"""Index the words of display names, for the search in the directory"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_users_display_name_words",
        "users",
        [sa.text("to_tsvector('simple'::regconfig, display_name)")],
        postgresql_using="gin",
    )


def downgrade() -> None:
    op.drop_index("ix_users_display_name_words", "users")
