"""Creates the tables of the object store.

Run by Alembic when a database is new or has records only. Does not import the present schema: it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "objects",
        sa.Column("bucket", sa.Text, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("crc64", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("meta", sa.LargeBinary, nullable=False),
        sa.Column("modified_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "object_uploads",
        sa.Column("upload_id", sa.Text, primary_key=True),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("meta", sa.LargeBinary, nullable=False),
        sa.Column("initiated_at", sa.Float, nullable=False),
    )
    op.create_index("object_uploads_by_key", "object_uploads", ["bucket", "key", "upload_id"])
    op.create_table(
        "object_parts",
        sa.Column("upload_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("crc64", sa.Text, nullable=False),
        sa.Column("modified_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("object_parts")
    op.drop_index("object_uploads_by_key", "object_uploads")
    op.drop_table("object_uploads")
    op.drop_table("objects")
