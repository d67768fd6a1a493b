"""Has a database know its cluster: a digest of the cluster's key, and the settings of the node that led last.

Run by Alembic when a database is new or older. Does not import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = "cluster_leadership"
COLUMNS = ("key_digest", "settings")


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for name in COLUMNS:
        op.add_column(TABLE, sa.Column(name, text, nullable=False, server_default=""))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column(TABLE, name)
