"""Creates the table of recorded calls.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "recordings",
        sa.Column("seq", number, primary_key=True),
        sa.Column("request_id", text, nullable=False),
        sa.Column("recorded_at", sa.Float, nullable=False),
        *(sa.Column(name, text, nullable=False) for name in ("service", "function", "qualifier", "runtime")),
        sa.Column("error_type", text, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("recordings_by_request", "recordings", ["request_id", "seq"])
    op.create_index("recordings_of_function", "recordings", ["service", "function", "seq"])


def downgrade() -> None:
    op.drop_table("recordings")
