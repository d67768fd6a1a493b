"""Lets another process follow the catalog, and adds the outbox.

Run by Alembic when a database is new or older. Numbers the present records in the order of their last change. Does not
import the present schema, so that it stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("parent", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_topic", "outbox", ["topic", "subject"])
    op.bulk_insert(counters, [{"name": "catalog", "value": _number_records()}, {"name": "catalog_pruned", "value": 0}])
    op.create_index("records_by_revision", "records", ["revision"], unique=True)
    op.create_index("tombstones_by_revision", "tombstones", ["revision"], unique=True)


def downgrade() -> None:
    op.drop_index("records_by_revision", "records")
    op.drop_table("outbox")
    op.drop_table("tombstones")
    op.drop_table("counters")


def _number_records() -> int:
    """Gives every record a revision of its own; returns the last."""
    names = ("kind", "parent", "name")
    records = sa.table("records", *(sa.column(name) for name in (*names, "revision", "modified_at")))
    connection = op.get_bind()
    order = sa.select(*(records.c[name] for name in names)).order_by(records.c.modified_at, *names)
    found = connection.execute(order).all()
    if found:
        which = sa.and_(*(records.c[name] == sa.bindparam(f"the_{name}") for name in names))
        connection.execute(
            sa.update(records).where(which).values(revision=sa.bindparam("number")),
            [
                {"the_kind": kind, "the_parent": parent, "the_name": name, "number": number}
                for number, (kind, parent, name) in enumerate(found, 1)
            ],
        )
    return len(found)
