"""The tables, the version triggers and the ledger's functions."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql"
_SEPARATOR = "-- ;;\n"


def _execute(name: str) -> None:
    for statement in (_SQL / f"0001_{name}.sql").read_text(encoding="utf-8").split(_SEPARATOR):
        op.execute(sa.text(statement.replace(":", "\\:")))  # a colon is a parameter to SQLAlchemy otherwise


def upgrade() -> None:
    for name in ("tables", "versions", "partitions", "reserve", "settle", "refuse"):
        _execute(name)


def downgrade() -> None:
    _execute("down")
