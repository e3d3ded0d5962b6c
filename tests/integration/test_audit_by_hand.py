"""The script in docs/AUDIT.md does what that page says, with nothing of the gateway in it."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neuronetz_gateway.checkpoint_signing import CheckpointSigner
from neuronetz_gateway.services.checkpoint_sinks import FileSink
from tests.support.audited import SECRET, Audited
from tests.support.commands import command
from tests.support.gateways import make_settings, write_env_file
from tests.support.ledgers import make_database
from tests.support.stores import Stores

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "AUDIT.md"


@pytest.mark.promise("D3")
def test_an_export_is_checked_by_hand_as_the_page_says(stores: Stores, tmp_path: Path, no_settings: None) -> None:
    del no_settings
    found = re.search(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None
    script = tmp_path / "by_hand.py"
    script.write_text(found[1])
    env_file = write_env_file(tmp_path / "gateway.env", make_settings(stores, "http://127.0.0.1:9"))
    log, sink = tmp_path / "log.jsonl", tmp_path / "checkpoints.jsonl"

    async def fill() -> int:
        database = make_database(stores.database_url)
        audited = Audited(stores.database_url, database)
        await audited.fill(writers=2, batches=2)
        await audited.checkpoints(sink=FileSink(sink)).emit()
        count = await audited.count("audit_log")
        await database.aclose()
        return count

    def by_hand() -> subprocess.CompletedProcess[str]:
        assert command("audit", "export", "--output", str(log), "--force", env_file=env_file).status == 0
        public_key = CheckpointSigner(SECRET).public_key.hex()
        return subprocess.run(
            [sys.executable, script, log, sink, public_key], capture_output=True, text=True, check=False
        )

    count = asyncio.run(fill())
    done = by_hand()
    assert (done.stdout, done.stderr) == (f"{count} rows hold\n", "")
    changed = asyncio.run(
        stores.fetch(
            "update audit_log set reason = 'x' where id = (select max(id::text)::uuid from audit_log) returning id"
        )
    )
    assert f"AssertionError: row {changed[0]['id']}" in by_hand().stderr
