"""Creates the table of the segments with groups of a cluster's Log Service.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "group_segments",
        sa.Column("number", number, primary_key=True),
        sa.Column("digest", text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("group_segments_by_digest", "group_segments", ["digest"], unique=True)


def downgrade() -> None:
    op.drop_table("group_segments")
