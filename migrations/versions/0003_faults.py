"""Recovery of what dead processes held, a chained audit log, sealed prompts."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql"
_SEPARATOR = "-- ;;\n"


def _execute(name: str) -> None:
    for statement in (_SQL / f"0003_{name}.sql").read_text(encoding="utf-8").split(_SEPARATOR):
        op.execute(sa.text(statement.replace(":", "\\:")))  # a colon is a parameter to SQLAlchemy otherwise


def upgrade() -> None:
    for name in ("tables", "versions", "before", "reserve", "audit", "settle", "rates", "upkeep"):
        _execute(name)


def downgrade() -> None:
    _execute("down")
