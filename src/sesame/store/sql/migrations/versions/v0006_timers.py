"""Creates the table of timer triggers.

Run by Alembic when a database is new or older. Its rows are made at the next start, from the triggers of the catalog.
Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "timers",
        sa.Column("parent", text, primary_key=True),
        sa.Column("name", text, primary_key=True),
        sa.Column("trigger_id", text, nullable=False),
        sa.Column("schedule", text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("timers")
