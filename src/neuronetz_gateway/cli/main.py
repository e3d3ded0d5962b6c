"""The command line: every command in the order of the help page."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from typer.exceptions import TyperException

from neuronetz_gateway.cli import (
    adjusting,
    audit,
    audit_chain,
    audit_prompts,
    budgets,
    keys,
    limits,
    models,
    networks,
    policies,
    quickstart,
    reconciling,
    server,
    tenants,
    usage,
)
from neuronetz_gateway.embedded.child import EmbeddedError
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.settings import SettingsError

TRACEBACK_VARIABLE = "NEURONETZ_TRACEBACK"
_INTERRUPTED = 130  # what a shell makes of SIGINT
_KEY_LIKE = re.compile(r"nz_[0-9A-Za-z]{10,}", re.ASCII)  # longer than a prefix


@dataclass(frozen=True, slots=True)
class Command:
    """One command: where the help page shows it, what carries it out, how it is typed.

    A name of two words is a command of a group, which GROUPS explains.
    """

    name: str
    panel: str
    work: Callable[..., int | None]
    examples: tuple[str, ...]


GROUPS = {"audit": "What was written down: read it, take it out, prove it, hold it against what was charged."}

COMMANDS = (
    Command("quickstart", "Serve", quickstart.quickstart, ("", "--data-dir ~/gateway --port 0 --upstream demo --json")),
    Command("serve", "Serve", server.serve, ("--env-file gateway.env", "--host 0.0.0.0 --port 8080 --workers 4")),
    Command("migrate", "Serve", server.migrate_database, ("--env-file gateway.env",)),
    Command(
        "create-tenant",
        "Tenants",
        tenants.create_tenant,
        ("--name acme --allow-all-models", "--name acme --models llama3.2:1b,qwen3 --time-zone Europe/Berlin"),
    ),
    Command("list-tenants", "Tenants", tenants.list_tenants, ("",)),
    Command("suspend-tenant", "Tenants", tenants.suspend_tenant, ("--name acme", "--name acme --resume")),
    Command(
        "create-key",
        "Keys",
        keys.create_key,
        ("--tenant acme --name ci --rpm 60 --expires 30d", "--tenant acme --name ci --quiet > key.txt"),
    ),
    Command("list-keys", "Keys", keys.list_keys, ("--tenant acme",)),
    Command("rotate-key", "Keys", keys.rotate_key, ("--prefix nz_AbC123xyZ --overlap 1h",)),
    Command("revoke-key", "Keys", keys.revoke_key, ("--prefix nz_AbC123xyZ --reason 'left the company'",)),
    Command(
        "set-budget",
        "What may be used",
        budgets.set_budget,
        ("--tenant acme --daily 1000000 --monthly 20000000", "--key nz_AbC123xyZ --total none"),
    ),
    Command(
        "set-limits",
        "What may be used",
        limits.set_limits,
        ("--tenant acme --rpm 600 --tpm none", "--key nz_AbC123xyZ --concurrent 4"),
    ),
    Command(
        "set-models",
        "What may be used",
        models.set_models,
        (
            "--tenant acme --allow-all",
            "--key nz_AbC123xyZ --models llama3.2:1b",
            "--key nz_AbC123xyZ --may-load-models",
        ),
    ),
    Command(
        "set-policy",
        "What may be used",
        policies.set_policy,
        ("--key nz_AbC123xyZ --keep-alive 10m --num-ctx 8192", "--key nz_AbC123xyZ --reset --images 0 --raw yes"),
    ),
    Command(
        "set-networks",
        "What may be used",
        networks.set_networks,
        ("--key nz_AbC123xyZ --allow 10.0.0.0/8,203.0.113.7,2001:db8::/32", "--key nz_AbC123xyZ --anywhere"),
    ),
    Command(
        "set-prompt-logging",
        "What may be used",
        audit_prompts.set_prompt_logging,
        ("--key nz_AbC123xyZ --for 7d", "--key nz_AbC123xyZ --for none"),
    ),
    Command("list-models", "What may be used", models.list_models, ("", "--tenant acme")),
    Command("show-usage", "What may be used", usage.show_usage, ("--tenant acme", "--key nz_AbC123xyZ --json")),
    Command(
        "adjust-usage",
        "What may be used",
        adjusting.adjust_usage,
        (
            "--request 0199f3a2-c4d8-7c1e-9b6f-5a40d2e81733 --tokens -4096 --reason 'gateway was killed'",
            "--key nz_AbC123xyZ --tokens 5000 --reason 'used beside the gateway'",
        ),
    ),
    Command(
        "audit list",
        "Audit",
        audit.list_rows,
        ("--since 1h", "--tenant acme --outcome abandoned", "--status 401 --address 192.0.2.7 --limit 10 --json"),
    ),
    Command(
        "audit export",
        "Audit",
        audit.export,
        ("--since 2027-01-01 --until 2027-02-01 --output january.jsonl", "--tenant acme --format csv > acme.csv"),
    ),
    Command("audit reconcile", "Audit", reconciling.reconcile, ("", "--tenant acme --json")),
    Command(
        "audit verify",
        "Audit",
        audit_chain.verify,
        ("", "--checkpoints /var/lib/gateway/checkpoints.jsonl", "--public-key 3b6a27bc... --since 2027-01-01 --json"),
    ),
    Command("audit checkpoints", "Audit", audit_chain.checkpoints, ("", "--now --limit 1 --json")),
    Command("audit list-prompts", "Audit", audit_prompts.list_prompts, ("--key nz_AbC123xyZ",)),
    Command("audit show-prompt", "Audit", audit_prompts.show_prompt, ("--id 0199f3a2-c4d8-7c1e-9b6f-5a40d2e81733",)),
    Command("audit erase-prompts", "Audit", audit_prompts.erase_prompts, ("--tenant acme", "--key nz_AbC123xyZ")),
)


def build() -> typer.Typer:
    """The application with its commands."""
    app = typer.Typer(
        name="neuronetz-gateway",
        help="A secure, multi-tenant gateway in front of Ollama: keys, limits, token budgets, an audit that holds.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    groups: dict[str, typer.Typer] = {}
    for command in COMMANDS:
        lines = (f"neuronetz-gateway {command.name} {example}".rstrip() for example in command.examples)
        epilog = "\n\n".join(("Examples:", *lines))
        first, _, second = command.name.partition(" ")
        if second and first not in groups:
            groups[first] = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
            app.add_typer(groups[first], name=first, help=GROUPS[first], rich_help_panel=command.panel)
        of_group = groups[first] if second else app
        of_group.command(second or first, rich_help_panel=None if second else command.panel, epilog=epilog)(
            command.work
        )
    return app


def main() -> None:
    """Run one command; whatever goes wrong is one line on stderr with exit status 1."""
    sys.exit(status_of(lambda: build()(prog_name="neuronetz-gateway", standalone_mode=False)))


def status_of(command: Callable[[], Any]) -> int:
    """The exit status of a command; its errors are told on stderr, keys in them are cut to nothing."""
    try:
        result = command()
    except TyperException as error:
        return _failed(f"{error.format_message()}{_help_page(error)}")
    except (GatewayError, SettingsError, EmbeddedError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return _failed(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:
        # The edge: the text of an unknown error may hold what is secret, so its kind alone is told.
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _failed(f"unexpected {type(error).__name__}; {TRACEBACK_VARIABLE}=1 shows where it comes from")
    return result if isinstance(result, int) else 0


def _help_page(error: TyperException) -> str:
    """Where to read how the command is typed, if the message is about one."""
    context = getattr(error, "ctx", None)  # typer names no type for it
    return "" if context is None or not error.format_message() else f" See: {context.command_path} --help"


def _failed(message: str) -> int:
    if message:  # empty where the help page was the answer
        print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
    return 1


def one_line(message: str) -> str:
    """A message on one line, without anything that looks like a whole key; of many lines the first and the last."""
    lines = [" ".join(part.split()) for part in message.splitlines() if part.strip()]
    kept = lines if len(lines) < 2 else [lines[0], lines[-1]]  # noqa: PLR2004 - the first and the last
    printable = "".join(character for character in " ".join(kept) if character.isprintable())
    return _KEY_LIKE.sub("nz_...", printable)
