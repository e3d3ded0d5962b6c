"""The commands that show what was written down."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.audit_options import (
    OfAddress,
    OfModel,
    OfOutcome,
    OfRequest,
    OfStatus,
    Since,
    Until,
    wanted_rows,
)
from neuronetz_gateway.cli.audit_records import audit_record, csv_head, csv_lines, drawn_rows, json_lines
from neuronetz_gateway.cli.export_output import ReaderLeftError, Write, reader_of_stdout, whole_file
from neuronetz_gateway.cli.opened_reports import audit_reader
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.progress import progress
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfKey, OfTenant, scope_if_any
from neuronetz_gateway.repositories.audit_rows import AuditRow
from neuronetz_gateway.services.audit_reading import AuditReader

_SHOWN = 50


class ExportFormat(StrEnum):
    """jsonl has every column as it is, csv is for spreadsheets."""

    JSONL = "jsonl"
    CSV = "csv"


def list_rows(
    *,
    tenant: TenantScope = None,
    key: KeyScope = None,
    outcome: OfOutcome = None,
    status: OfStatus = None,
    model: OfModel = None,
    request_id: OfRequest = None,
    address: OfAddress = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="At most so many.")] = _SHOWN,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """List what was written down, the newest first, as much of it as fits; --json has every column.

    Refusals without a key are counted by address and reason, a minute a row: `x 17` stands for 17 of them.
    """
    scope = scope_if_any(tenant, key)
    wanted = wanted_rows(
        outcome=outcome, status=status, model=model, request_id=request_id, address=address, since=since, until=until,
        now=datetime.now(UTC),
    )  # fmt: skip

    async def work(reader: AuditReader) -> list[AuditRow]:
        return await reader.newest(
            wanted,
            limit=limit,
            tenant=scope.name if isinstance(scope, OfTenant) else None,
            key=scope.prefix if isinstance(scope, OfKey) else None,
        )

    rows = run(audit_reader, work, env_file)
    if as_json:
        output.document({"rows": [audit_record(row) for row in rows]})
    elif rows:
        output.console().print(drawn_rows(rows))
    else:
        output.remark("Nothing of the kind was written down.")


def export(
    *,
    tenant: TenantScope = None,
    key: KeyScope = None,
    outcome: OfOutcome = None,
    status: OfStatus = None,
    model: OfModel = None,
    request_id: OfRequest = None,
    address: OfAddress = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[ExportFormat, typer.Option("--format", help="jsonl has all as it is; csv is for spreadsheets.")] = (
        ExportFormat.JSONL
    ),
    file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", show_default=False, help="A file for its owner alone, else stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Take rows out with every column, the oldest first, however many there are; all of them as of one moment.

    In CSV a text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    scope = scope_if_any(tenant, key)
    wanted = wanted_rows(
        outcome=outcome, status=status, model=model, request_id=request_id, address=address, since=since, until=until,
        now=datetime.now(UTC),
    )  # fmt: skip

    def of(write: Write, came: Callable[[int], None]) -> Callable[[Sequence[AuditRow]], None]:
        lines = json_lines if form is ExportFormat.JSONL else csv_lines

        def take(rows: Sequence[AuditRow]) -> None:
            write(lines(rows))
            came(len(rows))

        return take

    sink: AbstractContextManager[Write] = reader_of_stdout() if file is None else whole_file(file, force=force)
    try:
        with sink as write, progress("Exporting") as (expecting, came):
            if form is ExportFormat.CSV:
                write(csv_head())

            async def work(reader: AuditReader) -> int:
                return await reader.export(
                    wanted,
                    of(write, came),
                    tenant=scope.name if isinstance(scope, OfTenant) else None,
                    key=scope.prefix if isinstance(scope, OfKey) else None,
                    expecting=expecting,
                )

            count = run(audit_reader, work, env_file)
    except ReaderLeftError:
        return
    if file is not None:
        _tell(file, count, as_json=as_json)


def _tell(file: Path, count: int, *, as_json: bool) -> None:
    if as_json:
        output.document({"file": str(file), "rows": count})
    else:
        output.line(f"{output.count(count)} rows in {file}")
