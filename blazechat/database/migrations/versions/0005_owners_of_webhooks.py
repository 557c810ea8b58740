"""Index webhooks by owner; add the base URL for responses to a slash command"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_webhooks_owner_id", "webhooks", ["owner_id"])
    op.add_column("slash_commands", sa.Column("base_url", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("slash_commands", "base_url")
    op.drop_index("ix_webhooks_owner_id", "webhooks")
