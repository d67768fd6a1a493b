"""Runs migrations over the connection that `store.sql.database` already holds.

Loaded by Alembic, in process, when a database is opened. The upgrade is part of its caller's transaction.
"""

from alembic import context

from sesame.store.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
