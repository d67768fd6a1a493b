"""Creates the tables of a cluster.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "cluster_leadership",
        sa.Column("name", text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("node", text, nullable=False),
        sa.Column("address", text, nullable=False),
        sa.Column("renewed_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cluster_holders",
        sa.Column("name", text, primary_key=True),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("cluster_holders")
    op.drop_table("cluster_leadership")
