"""The options by which rows of the audit log are chosen."""

from datetime import datetime
from typing import Annotated

import typer

from neuronetz_gateway.cli import parsing
from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.repositories.audit_rows import AuditFilter

OfOutcome = Annotated[Outcome | None, typer.Option("--outcome", show_default=False, help="How the request ended.")]
OfStatus = Annotated[
    int | None, typer.Option("--status", min=0, max=599, metavar="N", show_default=False, help="The HTTP status.")
]
OfModel = Annotated[str | None, typer.Option("--model", metavar="NAME", show_default=False, help="The model.")]
OfRequest = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="ID",
        show_default=False,
        help="An X-Request-ID; or the id of a row, which finds what was written about it too.",
    ),
]
OfAddress = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", show_default=False, help="Where it came from; of IPv6 its /64 too."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", show_default=False, help="From then on: a date, a time, or how long ago (1h, 7d)."
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="WHEN", show_default=False, help="Before then, typed as --since is.")
]


def wanted_rows(
    *,
    outcome: Outcome | None,
    status: int | None,
    model: str | None,
    request_id: str | None,
    address: str | None,
    since: str | None,
    until: str | None,
    now: datetime,
) -> AuditFilter:
    """What was typed as a filter; raises InvalidRequestError."""
    return AuditFilter(
        outcome=None if outcome is None else outcome.value,
        status=status,
        model=None if model is None else _model(model),
        request=request_id,
        address=address,
        since=None if since is None else parsing.moment_gone("--since", since, now),
        until=None if until is None else parsing.moment_gone("--until", until, now),
    )


def _model(name: str) -> str:
    """As the log has it; a name that cannot be a model's finds nothing, which is an answer too."""
    try:
        return canonical(name)
    except ModelNameError:
        return name
