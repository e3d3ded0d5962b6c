"""The commands that prove the audit log, as far as it can be proven."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from neuronetz_gateway.checkpoint_signing import CheckpointKeys, read_public_key
from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened_audit import audit_chains
from neuronetz_gateway.cli.options import AsJson, EnvFile
from neuronetz_gateway.cli.progress import progress
from neuronetz_gateway.cli.records import Record
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.domain.chain_finding import Finding
from neuronetz_gateway.domain.checkpoint import CheckpointFormatError, SignedCheckpoint, parsed_document
from neuronetz_gateway.domain.verification import VerificationReport
from neuronetz_gateway.services.audit_building import AuditServices

_WRONG = 1


def verify(
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints",
            metavar="FILE",
            show_default=False,
            help="Checkpoints as the second sink has them: shows also what was taken out of the database.",
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key",
            metavar="HEX",
            show_default=False,
            help="Whose signatures count; DATABASE_URL is then the only setting that is needed.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DAY", show_default=False, help="Only rows of that day (UTC) and later."),
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> int:
    """Hold every row against its hash, every chain against what was signed of it; exit 1 where something is wrong.

    What this proves, what it cannot: docs/AUDIT.md.
    """
    keys = None if public_key is None else CheckpointKeys([read_public_key(public_key)])
    day = None if since is None else parsing.moment_gone("--since", since, datetime.now(UTC)).date()
    begun = monotonic()
    with progress("Verifying") as (expecting, came):

        async def work(chains: AuditServices) -> VerificationReport:
            return await chains.verifier.verify(
                since=day, checkpoints=checkpoints, keys=keys, expecting=expecting, came=came
            )

        report = run(audit_chains, work, env_file, {} if keys is None else _settings_of_an_auditor())
    seconds = monotonic() - begun
    if as_json:
        output.document(_report_record(report, seconds))
    else:
        _print_report(report, seconds)
    return _WRONG if report.wrong else 0


def checkpoints(
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="At most so many.")] = 20,
    now: Annotated[bool, typer.Option("--now", help="Write one first, if anything has moved since the last.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """List the newest checkpoints with the public key by which anybody can check them.

    The second sink gets what --now writes from a running gateway, at its next round.
    """

    async def work(chains: AuditServices) -> tuple[bytes, list[SignedCheckpoint]]:
        if now:
            await chains.checkpoints.write()
        return chains.checkpoints.public_key, await chains.checkpoints.newest(limit)

    public_key, newest = run(audit_chains, work, env_file)
    if as_json:
        records = [_checkpoint_record(each) for each in newest]
        output.document({"public_key": public_key.hex(), "checkpoints": records})
        return
    if newest:
        output.table((">NUMBER", "!AT", ">CHAINS", "!DROPPED", "!KEY"), [_cells(each) for each in newest])
    else:
        output.remark("There is no checkpoint yet.")
    output.line(f"Public key: {public_key.hex()}")


def _settings_of_an_auditor() -> dict[str, str]:
    """In place of what the gateway alone needs: an auditor has no secret of it."""
    return {"key_pepper": secrets.token_hex(32), "redis_url": "redis://127.0.0.1"}


def _print_report(report: VerificationReport, seconds: float) -> None:
    for finding in report.findings:
        output.line(f"WRONG  {output.shown(finding.words)}")
    if report.wrong > len(report.findings):
        output.line(f"WRONG  and {output.count(report.wrong - len(report.findings))} things more")
    output.facts(_facts(report, seconds))
    if report.last_checkpoint is None and report.rows:
        output.remark("There is no checkpoint yet: whoever can write in the database could have written all of this.")


def _facts(report: VerificationReport, seconds: float) -> Sequence[tuple[str, str]]:
    last = report.last_checkpoint
    newest = "none" if last is None else f"{last.number}, {output.instant(last.at)}"
    signed = report.rows - report.unchained_rows - report.unsigned_rows
    return (
        ("result", "clean" if not report.wrong else f"{output.count(report.wrong)} wrong"),
        ("rows", f"{output.count(report.rows)} in {output.count(report.chains)} chains"),
        ("signed", f"{output.count(max(signed, 0))}; {output.count(report.unsigned_rows)} are newer"),
        ("unchained", f"{output.count(report.unchained_rows)} from before there were chains"),
        ("checkpoints", f"{output.count(report.checkpoints)}, the newest is {newest}"),
        ("dropped days", output.count(report.dropped_days)),
        ("time", f"{seconds:.1f} s"),
    )


def _report_record(report: VerificationReport, seconds: float) -> Record:
    last = report.last_checkpoint
    return {
        "clean": not report.wrong,
        "rows": report.rows,
        "chains": report.chains,
        "unsigned_rows": report.unsigned_rows,
        "unchained_rows": report.unchained_rows,
        "checkpoints": report.checkpoints,
        "last_checkpoint": None if last is None else {"number": last.number, "at": output.iso(last.at)},
        "dropped_days": report.dropped_days,
        "seconds": round(seconds, 3),
        "wrong": report.wrong,
        "findings": [_finding_record(finding) for finding in report.findings],
    }


def _finding_record(finding: Finding) -> Record:
    return {
        "wrong": finding.wrong.value,
        "words": finding.words,
        "writer": finding.writer,
        "day": None if finding.day is None else finding.day.isoformat(),
        "first_sequence": finding.first_sequence,
        "sequence": finding.sequence,
        "id": finding.id,
        "checkpoint": finding.checkpoint,
    }


def _checkpoint_record(signed: SignedCheckpoint) -> Record:
    return {
        "number": signed.number,
        "at": output.iso(signed.at),
        "key_id": signed.key_id,
        "document": signed.document,
        "signature": signed.signature.hex(),
    }


def _cells(signed: SignedCheckpoint) -> Sequence[str]:
    try:
        document = parsed_document(signed.document)
        chains, dropped = output.count(len(document.heads)), ", ".join(day.isoformat() for day in document.dropped)
    except CheckpointFormatError:  # what verify tells of
        chains = dropped = "?"
    return str(signed.number), output.instant(signed.at), chains, dropped or "-", signed.key_id
