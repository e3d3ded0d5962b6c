"""Opens the database that the settings name, for short transactions or for long reads."""

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.reporting import ReportingDatabase
from neuronetz_gateway.settings import Settings


def database_of(settings: Settings) -> Database:
    """Connects at its first use; whoever opens it closes it."""
    return Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        connect_timeout_seconds=settings.database_connect_timeout_s,
        statement_timeout_seconds=settings.database_statement_timeout_s,
        lock_timeout_seconds=settings.database_lock_timeout_s,
        patience_seconds=settings.ledger_timeout_s,
    )


def reporting_of(settings: Settings) -> ReportingDatabase:
    """A connection a report, so there is nothing to close."""
    return ReportingDatabase(
        settings.database_url.get_secret_value(), connect_timeout_seconds=settings.database_connect_timeout_s
    )
