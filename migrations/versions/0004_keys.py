"""What single keys may ask of the model server, from where they may be used, when they were."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql"
_SEPARATOR = "-- ;;\n"


def _execute(name: str) -> None:
    for statement in (_SQL / f"0004_{name}.sql").read_text(encoding="utf-8").split(_SEPARATOR):
        op.execute(sa.text(statement.replace(":", "\\:")))  # a colon is a parameter to SQLAlchemy otherwise


def upgrade() -> None:
    _execute("keys")


def downgrade() -> None:
    _execute("down")
