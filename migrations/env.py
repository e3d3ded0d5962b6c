"""How Alembic reaches the database and compares it with the tables."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from neuronetz_gateway.db.migrating import is_modelled, migration_engine
from neuronetz_gateway.db.tables import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, include_name=is_modelled)
    with context.begin_transaction():
        context.run_migrations()


async def run_on_own_connection() -> None:
    engine = migration_engine(os.environ["DATABASE_URL"])
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_on_own_connection())
