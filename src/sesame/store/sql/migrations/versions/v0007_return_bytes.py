"""Adds how large the result of an asynchronous invocation was, where only its beginning is kept.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("async_invocations", sa.Column("return_bytes", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("async_invocations", "return_bytes")
