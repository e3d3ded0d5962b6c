"""The commands about keys."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.invocation import command_line
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, Concurrent, EnvFile, Models, Rpm, TenantName, Tpm
from neuronetz_gateway.cli.records import (
    key_models_words,
    key_record,
    key_status,
    limit_cells,
    limits_words,
    networks_words,
    own_rules_words,
)
from neuronetz_gateway.cli.runtime import actor, run
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.services.api_keys import IssuedKey
from neuronetz_gateway.services.management import Management

_ONCE = "The key is shown this once: keep it now, it cannot be shown again."

Prefix = Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="The first 12 characters, as list-keys shows.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the key alone on stdout, nothing else.")]


def create_key(
    *,
    tenant: TenantName,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the key is for.")],
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrent: Concurrent = None,
    models: Models = None,
    may_load_models: Annotated[
        bool,
        typer.Option(
            "--may-load-models",
            help="Let an empty prompt load a model or, with keep_alive 0, unload it, for all tenants.",
        ),
    ] = False,
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks",
            metavar="CIDR,CIDR",
            show_default=False,
            help="From where alone it may be used, such as 10.0.0.0/8,2001:db8::7. Without it: from anywhere.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            show_default=False,
            help="A date, a time (UTC without a zone) or a length of time such as 30d. Without it: never.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Make a key, shown this once. Its own limits narrow those of its tenant; what is left out is inherited."""
    label = parsing.label("--name", name)
    limits = Limits(**parsing.bounds({"rpm": rpm, "tpm": tpm, "concurrent": concurrent}))
    allowed = None if models is None else parsing.models(models)
    allowed_networks = None if networks is None else parsing.networks("--networks", networks)
    expires_at = None if expires is None else parsing.moment("--expires", expires, datetime.now(UTC))

    async def work(managed: Management) -> IssuedKey:
        return await managed.api_keys.issue(
            tenant,
            label,
            limits=limits,
            allowed_models=allowed,
            may_load_models=may_load_models,
            allowed_networks=allowed_networks,
            expires_at=expires_at,
        )

    _show_issued(run(management, work, env_file), (("tenant", tenant),), quiet=quiet, as_json=as_json)


def list_keys(
    tenant: TenantName,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """List the keys of a tenant, by prefix; a dash stands for what its tenant has. Secrets are stored nowhere."""

    async def work(managed: Management) -> list[ApiKey]:
        return list(await managed.api_keys.list(tenant))

    found, now = run(management, work, env_file), datetime.now(UTC)
    if as_json:
        output.document({"keys": [key_record(key, now) for key in found]})
        return
    if not found:
        first = command_line("create-key", "--tenant", tenant, "--name", "first", env_file=env_file)
        output.remark(f"Tenant {tenant} has no key yet. To make one:  {first}")
        return
    output.table(
        ("!PREFIX", "NAME", "STATUS", "MODELS", ">RPM", ">TPM", ">AT ONCE", "OWN RULES", "EXPIRES", "LAST USED"),
        (
            (
                key.prefix,
                key.name,
                key_status(key, now),
                key_models_words(key, "-"),
                *limit_cells(key.limits),
                own_rules_words(key),
                output.instant(key.expires_at),
                output.instant(key.last_used_at),
            )
            for key in found
        ),
    )


def revoke_key(
    prefix: Prefix,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept beside who did it.")] = "",
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Refuse a key from the next request on, for ever; its running streams are cut."""
    named = parsing.prefix("--prefix", prefix)
    why = parsing.remark("--reason", reason)

    async def work(managed: Management) -> ApiKey:
        return await managed.api_keys.revoke(named, actor=actor(), reason=why)

    key = run(management, work, env_file)
    if as_json:
        output.document({"prefix": key.prefix, "revoked_at": output.iso(key.revoked_at)})
    else:
        output.line(f"Key {key.prefix} ({output.shown(key.name)}) is revoked: it is refused from the next request on.")


def rotate_key(
    prefix: Prefix,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="How long the old key goes on working: 0s, 30m, 1h, 7d.")
    ] = "1h",
    quiet: Quiet = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Make a key that takes over from another, which dies after the overlap."""
    named = parsing.prefix("--prefix", prefix)
    lasting = parsing.span("--overlap", overlap)

    async def work(managed: Management) -> IssuedKey:
        return await managed.api_keys.rotate(named, overlap_seconds=lasting.total_seconds(), actor=actor())

    issued = run(management, work, env_file)
    end = output.instant(datetime.now(UTC) + lasting)
    _show_issued(
        issued, (("replaces", f"{named}, which works until {end} at the latest"),), quiet=quiet, as_json=as_json
    )


def _show_issued(issued: IssuedKey, first: tuple[tuple[str, str], ...], *, quiet: bool, as_json: bool) -> None:
    """The one place that prints a whole key, on stdout."""
    key, secret = issued.api_key, issued.plain.value
    if as_json:
        output.document({**key_record(key, datetime.now(UTC)), "key": secret})
    elif quiet:
        output.line(secret)
    else:
        output.facts(
            (
                *first,
                ("name", key.name),
                ("prefix", key.prefix),
                ("limits", limits_words(key.limits, "those of its tenant")),
                ("models", key_models_words(key)),
                ("from", networks_words(key)),
                ("expires", output.instant(key.expires_at)),
                ("key", secret),
            )
        )
        output.remark(_ONCE)
