"""Creates the table of the nonces that requests to a cluster were signed with.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "used_nonces",
        sa.Column("number", number, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("used_nonces")
