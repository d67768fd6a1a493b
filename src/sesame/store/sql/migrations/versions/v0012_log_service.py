"""Creates the table of what a cluster's Log Service has besides logs.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "log_service",
        sa.Column("kind", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("log_service")
