"""Add templates to incoming webhooks, and the last error of each"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("incoming_webhooks", sa.Column("template", sa.Text(), nullable=True))
    op.add_column(
        "incoming_webhooks", sa.Column("last_error_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("incoming_webhooks", sa.Column("last_error", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("incoming_webhooks", "last_error")
    op.drop_column("incoming_webhooks", "last_error_at")
    op.drop_column("incoming_webhooks", "template")
