"""Runs migrations over the connection that `store.sql.database` already holds.

Loaded by Alembic only, in process, when a database is opened.
Never opens a connection of its own, so that the upgrade is one transaction with its caller's.
"""

from alembic import context

from sesame.store.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
