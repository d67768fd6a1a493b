"""Creates the table of a cluster's log segments.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "log_segments",
        sa.Column("number", number, primary_key=True),
        sa.Column("digest", text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("first_id", sa.BigInteger, nullable=False),
        sa.Column("end_id", sa.BigInteger, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("owners", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("log_segments_by_digest", "log_segments", ["digest"], unique=True)


def downgrade() -> None:
    op.drop_table("log_segments")
