"""What is asked of a long audit log, answered soon: usage summed up by day, requests found by their id."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql"
_SEPARATOR = "-- ;;\n"


def _execute(name: str) -> None:
    for statement in (_SQL / f"0005_{name}.sql").read_text(encoding="utf-8").split(_SEPARATOR):
        op.execute(sa.text(statement.replace(":", "\\:")))  # a colon is a parameter to SQLAlchemy otherwise


def upgrade() -> None:
    _execute("usage")
    _execute("lookup")


def downgrade() -> None:
    _execute("down")
