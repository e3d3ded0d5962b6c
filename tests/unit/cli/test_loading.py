"""What a start of the program loads, and that completing a word loads no command before its options are wanted."""

import subprocess
import sys

import pytest

from tests.support.commands import command

SERVING = {"alembic", "fastapi", "httpx", "redis", "uvicorn", "neuronetz_gateway.wiring"}
MANAGING = {"pydantic_settings", "rich.progress", "sqlalchemy"}
_LOADED = """
import sys
from neuronetz_gateway.cli.application import build, loaded
from neuronetz_gateway.cli.command_table import COMMANDS
application = build()
named = {each.name: each for each in COMMANDS}
for name in sys.argv[1:]:
    loaded(named[name])
print(*sys.modules)
"""


def modules_after(*names: str) -> set[str]:
    """What a fresh interpreter has loaded once these commands are wanted."""
    done = subprocess.run([sys.executable, "-c", _LOADED, *names], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_first_page_needs_no_command() -> None:
    assert not modules_after() & (SERVING | MANAGING)


def test_management_loads_nothing_that_serves() -> None:
    assert not modules_after("list-tenants", "create-key", "set-budget", "show-usage", "audit list") & SERVING


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sus", "suspend-tenant"),
        ("audit ver", "verify"),
        ("show-usage --cs", "--csv"),
        ("audit export --form", "--format"),
    ],
)
def test_a_shell_completes_commands_and_options(typed: str, offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"neuronetz-gateway {typed}"
    monkeypatch.setenv("_NEURONETZ_GATEWAY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    done = command()
    assert (done.status, done.out.split()) == (0, [offered])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_NEURONETZ_GATEWAY_COMPLETE", f"source_{shell}")
    assert f"complete_{shell}" in command().out


def test_the_version_is_told_alone() -> None:
    page = command("--version")
    assert page.status == 0
    assert page.out.startswith("neuronetz-gateway ")
    assert page.out.count("\n") == 1
