"""Every command in the order of the help page, by where its work is found rather than by the work itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command: where the help page shows it, what carries it out, how it is typed.

    A name of two words is a command of a group, which GROUPS explains. The work is written `module:function`, a module
    of this folder, so that reading this table loads none of them (docs/decisions/0018). The summary is the line of the
    first help page; the whole of what a command does stands at its function.
    """

    name: str
    panel: str
    work: str
    summary: str
    examples: tuple[str, ...]


GROUPS = {"audit": "What was written down: read it, take it out, prove it, hold it against what was charged."}

COMMANDS = (
    Command(
        "quickstart",
        "Serve",
        "quickstart:quickstart",
        "Run a whole gateway here, stores and model server included.",
        ("", "--data-dir ~/gateway --port 0 --upstream demo --json"),
    ),
    Command(
        "serve",
        "Serve",
        "server:serve",
        "Serve the gateway.",
        ("--env-file gateway.env", "--host 0.0.0.0 --port 8080 --workers 4"),
    ),
    Command(
        "migrate",
        "Serve",
        "schema:migrate_database",
        "Bring the database to the schema of this version.",
        ("--env-file gateway.env",),
    ),
    Command(
        "doctor",
        "Serve",
        "doctor:doctor",
        "Check everything it leans on, say the mend.",
        ("--env-file gateway.env", "--json"),
    ),
    Command(
        "create-tenant",
        "Tenants",
        "tenants:create_tenant",
        "Make a tenant.",
        ("--name acme --allow-all-models", "--name acme --models llama3.2:1b,qwen3 --time-zone Europe/Berlin"),
    ),
    Command("list-tenants", "Tenants", "tenants:list_tenants", "List every tenant with its limits and models.", ("",)),
    Command(
        "suspend-tenant",
        "Tenants",
        "tenants:suspend_tenant",
        "Refuse every request of a tenant, or let it in again.",
        ("--name acme", "--name acme --resume"),
    ),
    Command(
        "create-key",
        "Keys",
        "keys:create_key",
        "Make a key, shown this once.",
        ("--tenant acme --name ci --rpm 60 --expires 30d", "--tenant acme --name ci --quiet > key.txt"),
    ),
    Command("list-keys", "Keys", "keys:list_keys", "List the keys of a tenant.", ("--tenant acme",)),
    Command(
        "rotate-key",
        "Keys",
        "keys:rotate_key",
        "Make a key that takes over from another.",
        ("--prefix nz_AbC123xyZ --overlap 1h",),
    ),
    Command(
        "revoke-key",
        "Keys",
        "keys:revoke_key",
        "Refuse a key for ever, from the next request on.",
        ("--prefix nz_AbC123xyZ --reason 'left the company'",),
    ),
    Command(
        "set-budget",
        "What may be used",
        "budgets:set_budget",
        "Bound tokens a day, a month, in total.",
        ("--tenant acme --daily 1000000 --monthly 20000000", "--key nz_AbC123xyZ --total none"),
    ),
    Command(
        "set-limits",
        "What may be used",
        "limits:set_limits",
        "Bound requests, tokens a minute, requests at once.",
        ("--tenant acme --rpm 600 --tpm none", "--key nz_AbC123xyZ --concurrent 4"),
    ),
    Command(
        "set-models",
        "What may be used",
        "models:set_models",
        "Say which models a tenant or a key may use.",
        (
            "--tenant acme --allow-all",
            "--key nz_AbC123xyZ --models llama3.2:1b",
            "--key nz_AbC123xyZ --may-load-models",
        ),
    ),
    Command(
        "set-policy",
        "What may be used",
        "policies:set_policy",
        "Say what a key may ask for besides an answer.",
        ("--key nz_AbC123xyZ --keep-alive 10m --num-ctx 8192", "--key nz_AbC123xyZ --reset --images 0 --raw yes"),
    ),
    Command(
        "set-networks",
        "What may be used",
        "networks:set_networks",
        "Say from where a key may be used.",
        ("--key nz_AbC123xyZ --allow 10.0.0.0/8,203.0.113.7,2001:db8::/32", "--key nz_AbC123xyZ --anywhere"),
    ),
    Command(
        "set-prompt-logging",
        "What may be used",
        "audit_prompts:set_prompt_logging",
        "Keep the prompts of a key, sealed, for a time.",
        ("--key nz_AbC123xyZ --for 7d", "--key nz_AbC123xyZ --for none"),
    ),
    Command(
        "list-models",
        "What may be used",
        "installed_models:list_models",
        "List what the model server has, who may use it.",
        ("", "--tenant acme"),
    ),
    Command(
        "show-usage",
        "What may be used",
        "usage:show_usage",
        "Show what was used, how full each budget is.",
        (
            "--tenant acme",
            "--tenant acme --days 30 --csv > acme.csv",
            "--key nz_AbC123xyZ --from 2027-01-01 --to 2027-01-31 --json",
        ),
    ),
    Command(
        "adjust-usage",
        "What may be used",
        "adjusting:adjust_usage",
        "Correct what was charged.",
        (
            "--request 0199f3a2-c4d8-7c1e-9b6f-5a40d2e81733 --tokens -4096 --reason 'gateway was killed'",
            "--key nz_AbC123xyZ --tokens 5000 --reason 'used beside the gateway'",
        ),
    ),
    Command(
        "audit list",
        "Audit",
        "audit:list_rows",
        "List what was written down, the newest first.",
        ("--since 1h", "--tenant acme --outcome abandoned", "--status 401 --address 192.0.2.7 --limit 10 --json"),
    ),
    Command(
        "audit export",
        "Audit",
        "audit:export",
        "Take rows out, as JSON lines or CSV.",
        ("--since 2027-01-01 --until 2027-02-01 --output january.jsonl", "--tenant acme --format csv > acme.csv"),
    ),
    Command(
        "audit reconcile",
        "Audit",
        "reconciling:reconcile",
        "Hold budgets and audit log against each other.",
        ("", "--tenant acme --json"),
    ),
    Command(
        "audit verify",
        "Audit",
        "audit_chain:verify",
        "Show whether the log is as it was written.",
        ("", "--checkpoints /var/lib/gateway/checkpoints.jsonl", "--public-key 3b6a27bc... --since 2027-01-01 --json"),
    ),
    Command(
        "audit checkpoints",
        "Audit",
        "audit_chain:checkpoints",
        "List what has been signed of the log.",
        ("", "--now --limit 1 --json"),
    ),
    Command(
        "audit list-prompts",
        "Audit",
        "audit_prompts:list_prompts",
        "List the prompts that are kept.",
        ("--key nz_AbC123xyZ",),
    ),
    Command(
        "audit show-prompt",
        "Audit",
        "audit_prompts:show_prompt",
        "Decrypt one prompt.",
        ("--id 0199f3a2-c4d8-7c1e-9b6f-5a40d2e81733",),
    ),
    Command(
        "audit erase-prompts",
        "Audit",
        "audit_prompts:erase_prompts",
        "Delete all prompts that are kept of a tenant or a key.",
        ("--tenant acme", "--key nz_AbC123xyZ"),
    ),
)
