"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ENV_FILE_VARIABLE = "NEURONETZ_ENV_FILE"

EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        envvar=ENV_FILE_VARIABLE,
        show_default=False,
        help="Read settings from this file; the environment's own variables win over it. Without it: .env, if any.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant.")]
TenantScope = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", show_default=False, help="A tenant, by its name.")
]
KeyScope = Annotated[
    str | None,
    typer.Option("--key", metavar="PREFIX", show_default=False, help="A key, by its 12-character prefix."),
]
OneKey = Annotated[str, typer.Option("--key", metavar="PREFIX", help="The key, by its 12-character prefix.")]
Rpm = Annotated[
    str | None,
    typer.Option("--rpm", metavar="N|none", show_default=False, help="Requests in any 60 seconds."),
]
Tpm = Annotated[
    str | None,
    typer.Option("--tpm", metavar="N|none", show_default=False, help="Tokens in any 60 seconds."),
]
Concurrent = Annotated[
    str | None,
    typer.Option("--concurrent", metavar="N|none", show_default=False, help="Requests under way at once."),
]
Models = Annotated[
    str | None,
    typer.Option("--models", metavar="A,B", show_default=False, help="The models that may be used, by name."),
]
