"""The command about from where keys may be used."""

from typing import Annotated

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, OneKey
from neuronetz_gateway.cli.records import networks_record, networks_words
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management


def set_networks(
    *,
    key: OneKey,
    allow: Annotated[
        str | None,
        typer.Option(
            "--allow", metavar="CIDR,CIDR", show_default=False, help="From these alone; an empty list is nowhere."
        ),
    ] = None,
    anywhere: Annotated[bool, typer.Option("--anywhere", help="From anywhere, as without this command.")] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Say from where a key may be used, by address or network, from the next request on.

    It is the caller's own address that counts: behind a proxy that TRUSTED_PROXIES names, the one that the proxy saw.
    """
    prefix = parsing.prefix("--key", key)
    if (allow is None) != anywhere:
        raise InvalidRequestError("Say from where: --allow CIDR,CIDR or --anywhere, one of them.")
    allowed = None if allow is None else parsing.networks("--allow", allow)

    async def work(managed: Management) -> ApiKey:
        return await managed.api_keys.set_networks(prefix, allowed)

    changed = run(management, work, env_file)
    if as_json:
        output.document({"key": changed.prefix, "networks": networks_record(changed)})
    else:
        output.line(f"Key {changed.prefix} may be used from: {networks_words(changed)}.")
