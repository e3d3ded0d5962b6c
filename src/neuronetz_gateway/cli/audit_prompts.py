"""The commands about logged prompts."""

from typing import Annotated
from uuid import UUID

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened_audit import logged_prompts
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.runtime import actor, run
from neuronetz_gateway.cli.scope import OfTenant, scope_of
from neuronetz_gateway.domain.prompt import PromptRecord
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.logged_prompts import LoggedPrompts, ReadPrompt

_SHOWN = 50


def set_prompt_logging(
    *,
    key: Annotated[str, typer.Option("--key", metavar="PREFIX", help="The key, by its 12-character prefix.")],
    lasting: Annotated[
        str, typer.Option("--for", metavar="TIME|none", help="How long each prompt is kept: 1h, 7d; none ends it.")
    ],
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Keep the prompts of a key, sealed, for a time from its next request on. What is kept already stays so long."""
    prefix = parsing.prefix("--key", key)
    span = None if lasting.strip().lower() == "none" else parsing.span("--for", lasting)

    async def work(prompts: LoggedPrompts) -> int | None:
        changed = await prompts.set_logging(prefix, span, actor=actor())
        return changed.prompt_log_seconds

    seconds = run(logged_prompts, work, env_file)
    if as_json:
        output.document({"key": prefix, "prompt_log_seconds": seconds})
    elif seconds is None:
        output.line(f"Prompts of key {prefix} are not kept any more; audit erase-prompts deletes those that are.")
    else:
        output.line(f"Prompts of key {prefix} are kept, sealed, for {lasting} each; audit show-prompt reads one.")


def list_prompts(
    tenant: TenantScope = None,
    key: KeyScope = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="At most so many.")] = _SHOWN,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """List the prompts that are kept of a tenant or a key, the newest first, without their text."""
    scope = scope_of(tenant, key)
    name, prefix = (scope.name, None) if isinstance(scope, OfTenant) else (None, scope.prefix)

    async def work(prompts: LoggedPrompts) -> list[PromptRecord]:
        return await prompts.list(tenant_name=name, prefix=prefix, limit=limit)

    found = run(logged_prompts, work, env_file)
    if as_json:
        output.document({"prompts": [_record(record) for record in found]})
    elif not found:
        output.remark("No prompt is kept; set-prompt-logging has those of a key kept.")
    else:
        output.table(
            ("!ID", "ADMITTED", "MODEL", "ENDPOINT", ">BYTES", "GONE"),
            (
                (
                    str(record.id),
                    output.instant(record.admitted_at),
                    record.model,
                    record.endpoint,
                    output.count(record.prompt_bytes),
                    output.instant(record.expires_at),
                )
                for record in found
            ),
        )


def show_prompt(
    prompt_id: Annotated[str, typer.Option("--id", metavar="ID", help="The request's id in the audit log.")],
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Decrypt one prompt. That you did stands in the audit log from then on."""
    wanted = _uuid(prompt_id)

    async def work(prompts: LoggedPrompts) -> ReadPrompt:
        return await prompts.read(wanted, actor=actor())

    found = run(logged_prompts, work, env_file)
    text = found.prompt.decode("utf-8", errors="replace")
    if as_json:
        output.document({**_record(found.record), "prompt": text, "cut": found.cut})
        return
    output.line(output.shown(text))
    if found.cut:
        output.remark(f"Cut: {len(found.prompt):,} of {found.record.prompt_bytes:,} bytes were kept.")


def erase_prompts(
    tenant: TenantScope = None, key: KeyScope = None, as_json: AsJson = False, env_file: EnvFile = None
) -> None:
    """Delete all prompts that are kept of a tenant or of a key. The audit log itself is untouched."""
    scope = scope_of(tenant, key)
    name, prefix = (scope.name, None) if isinstance(scope, OfTenant) else (None, scope.prefix)

    async def work(prompts: LoggedPrompts) -> int:
        return await prompts.erase(tenant_name=name, prefix=prefix, actor=actor())

    gone = run(logged_prompts, work, env_file)
    if as_json:
        output.document({"erased": gone})
    else:
        output.line(f"Prompts erased: {gone:,}.")


def _record(record: PromptRecord) -> dict[str, object]:
    return {
        "id": str(record.id),
        "api_key_id": str(record.api_key_id),
        "model": record.model,
        "endpoint": record.endpoint,
        "request_id": record.request_id,
        "admitted_at": output.iso(record.admitted_at),
        "expires_at": output.iso(record.expires_at),
        "prompt_bytes": record.prompt_bytes,
    }


def _uuid(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise InvalidRequestError("--id takes the id of a request as audit list shows it.") from None
