"""What went otherwise than usual is found in an audit log of any length: by its outcome, by its status."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql"
_SEPARATOR = "-- ;;\n"


def _execute(name: str) -> None:
    for statement in (_SQL / f"0006_{name}.sql").read_text(encoding="utf-8").split(_SEPARATOR):
        op.execute(sa.text(statement.replace(":", "\\:")))  # a colon is a parameter to SQLAlchemy otherwise


def upgrade() -> None:
    _execute("unusual")


def downgrade() -> None:
    _execute("down")
