"""Proving the audit log from the command line."""

import asyncio
from pathlib import Path

import pytest

from neuronetz_gateway.checkpoint_signing import CheckpointSigner
from neuronetz_gateway.domain.checkpoint import parsed_document
from neuronetz_gateway.services.checkpoint_sinks import FileSink
from tests.support.audited import SECRET, Audited
from tests.support.commands import command, command_fork
from tests.support.forks import Zygote
from tests.support.gateways import PEPPER
from tests.support.ledgers import make_database
from tests.support.stores import Stores


@pytest.fixture
def filled(stores: Stores, tmp_path: Path) -> Path:
    """A log of three days; the file of its second sink."""
    file = tmp_path / "checkpoints.jsonl"

    async def fill() -> None:
        database = make_database(stores.database_url)
        audited = Audited(stores.database_url, database)
        await audited.fill(writers=1, batches=2)
        await audited.checkpoints(PEPPER.encode(), sink=FileSink(file)).emit()
        await database.aclose()

    asyncio.run(fill())
    return file


def test_an_empty_log_is_clean_and_has_no_checkpoint(env_file: Path) -> None:
    done = command("audit", "verify", env_file=env_file)
    assert done.status == 0
    assert "result        clean" in done.out
    assert "There is no checkpoint yet" in command("audit", "checkpoints", env_file=env_file).err
    assert command("audit", "checkpoints", "--now", "--json", env_file=env_file).document["checkpoints"] == []


@pytest.mark.promise("D3")
def test_a_log_is_verified_then_a_change_in_it_is_named(
    zygote: Zygote, env_file: Path, filled: Path, stores: Stores, tmp_path: Path
) -> None:
    unknown = command("audit", "verify", env_file=env_file)  # its checkpoints bear a key that we do not know
    assert unknown.status == 1
    assert "signed by a key that is not known here" in unknown.out
    asyncio.run(stores.execute("update audit_heads set sequence = sequence"))
    asyncio.run(stores.execute("delete from audit_listed where day = (select max(day) from audit_listed)"))
    listed = command("audit", "checkpoints", "--now", "--limit", "2", "--json", env_file=env_file).document
    newest, before = listed["checkpoints"]
    assert listed["public_key"] == CheckpointSigner(PEPPER.encode()).public_key.hex()
    assert newest["number"] == before["number"] + 1 == 7
    assert len(parsed_document(newest["document"]).heads) == 1
    table = command("audit", "checkpoints", env_file=env_file).out
    assert table.splitlines()[1].split()[0] == "7"
    assert f"Public key: {listed['public_key']}" in table

    report = command("audit", "verify", "--checkpoints", str(filled), "--json", env_file=env_file).document
    assert (report["clean"], report["wrong"], report["findings"]) == (True, 0, [])
    assert (report["checkpoints"], report["chains"], report["unsigned_rows"]) == (7, 3, 0)
    rows = report["rows"]

    changed = asyncio.run(
        stores.fetch("update audit_log set charged_tokens = 0 where charged_tokens > 9 returning id::text, recorded_on")
    )[0]
    done = command("audit", "verify", env_file=env_file)
    assert done.status == 1
    assert f"({changed['id']}) is not what its hash was made of" in done.out
    assert f"rows          {rows} in 3 chains" in done.out
    document = asyncio.run(command_fork(zygote, tmp_path, "audit", "verify", "--json", env_file=env_file))
    assert document.status == 1
    assert changed["id"] in document.out
    later = changed["recorded_on"].replace(year=changed["recorded_on"].year + 1).isoformat()
    assert command("audit", "verify", "--since", later, env_file=env_file).status == 0


def test_an_auditor_needs_the_public_key_alone(filled: Path, stores: Stores, tmp_path: Path, no_settings: None) -> None:
    del no_settings
    alone = tmp_path / "auditor.env"
    alone.write_text(f"DATABASE_URL={stores.database_url}\n")
    assert "KEY_PEPPER" in command("audit", "verify", env_file=alone).error
    public_key = CheckpointSigner(SECRET).public_key.hex()
    words = ("audit", "verify", "--public-key", public_key, "--checkpoints", str(filled))
    assert command(*words, env_file=alone).status == 0
    assert "64 hexadecimal digits" in command("audit", "verify", "--public-key", "abc", env_file=alone).error
    other = CheckpointSigner(b"other").public_key.hex()
    assert command("audit", "verify", "--public-key", other, env_file=alone).status == 1


def test_what_cannot_be_done_is_told_in_one_line(env_file: Path) -> None:
    missing = command("audit", "verify", "--checkpoints", "/nowhere/checkpoints", env_file=env_file)
    assert "No such file or directory: /nowhere/checkpoints" in missing.error
    assert "--since takes a date" in command("audit", "verify", "--since", "yesterday", env_file=env_file).error
