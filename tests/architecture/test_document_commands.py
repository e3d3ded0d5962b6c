"""Every shell block of every document is run by a test, or looked at as far as it can be without running it."""

import re
import shlex

import pytest

from neuronetz_gateway.settings import Settings
from tests.support.documents import ROOT, Block, blocks_of, pages
from tests.support.what_exists import exists, options_by_command, recipes

BLOCKS = [block for page in pages() for block in blocks_of(page, "sh")]
# By a test that reads the document itself, so that it runs what stands there.
RUN_BY = {
    ("README.md", None): "tests/integration/test_readme.py",
    ("docs/OPERATIONS.md", "Backup"): "tests/faults/test_backup_and_restore.py",
    ("docs/OPERATIONS.md", "Restore"): "tests/faults/test_backup_and_restore.py",
    ("docs/OPERATIONS.md", "The password of Redis"): "tests/faults/test_rotating_secrets.py",
    ("docs/OPERATIONS.md", "KEY_PEPPER"): "tests/faults/test_rotating_secrets.py",
    ("docs/OPERATIONS.md", "AUDIT_SIGNING_KEY, which signs checkpoints"): "tests/faults/test_rotating_secrets.py",
    ("docs/OPERATIONS.md", "Upgrade"): "tests/integration/db/test_migrating.py",
}
# Looked at line by line below, not run, since
NOT_RUN = {
    ("CONTRIBUTING.md", "Set up"): "the tests run in what it makes; test_readme holds the same words",
    ("docs/DEPLOYMENT.md", "On one machine, with compose"): "there is no engine of containers here",
    ("docs/DEPLOYMENT.md", "On one machine, without containers"): "it installs a service, as root",
    ("docs/DEPLOYMENT.md", "Firewall"): "it changes the firewall",
    ("docs/OPERATIONS.md", "A first look"): "each of its commands has its own tests",
    (
        "docs/OPERATIONS.md",
        "KEY_PEPPER",
    ): "a query of one line; tests/faults/test_rotation_of_the_pepper.py looks at its columns",
    (
        "docs/OPERATIONS.md",
        "AUDIT_SIGNING_KEY, which signs checkpoints",
    ): "tests/integration/cli/test_audit_chain.py has them",
    ("docs/OPERATIONS.md", "Reservations are abandoned"): "tests/integration/cli/test_audit.py lists by outcome",
    ("docs/OPERATIONS.md", "Budgets near their end"): "tests/integration/cli/ shows usage",
    ("docs/OPERATIONS.md", "Audit chain broken"): "tests/integration/cli/test_audit_chain.py has it",
    ("docs/OPERATIONS.md", "Checkpoints are late"): "tests/integration/cli/test_audit_chain.py has it",
}
OURS = {"neuronetz-gateway", "nz", ".venv/bin/neuronetz-gateway"}
PROGRAMS = {
    *("cp", "chmod", "cd", "echo", "export", "alias", "curl", "install", "useradd", "systemctl", "nft"),
    *("pg_dump", "pg_restore", "createdb", "createuser", "psql", "redis-cli", "docker", "sudo", "python3.12"),
    *(".venv/bin/pip", ".venv/bin/just", ".venv/bin/alembic", "just", "ops/make-secrets", "scripts/sbom.py"),
}
BEFORE_A_PROGRAM = re.compile(r"^(?:sudo (?:-u \S+ )?|docker compose (?:exec|run --rm) (?!pull)\S+ )")
VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)")
# A key, a model, a password: what whoever types has set before, as the text says.
SET_BY_HAND = {"KEY", "MODEL", "NEW", "OLD"}


def ids(block: Block) -> str:
    return f"{block.page}: {block.heading}"


def test_every_shell_block_is_run_or_there_is_a_reason() -> None:
    known = RUN_BY.keys() | NOT_RUN.keys()
    unknown = [ids(block) for block in BLOCKS if not {(block.page, block.heading), (block.page, None)} & known]
    assert unknown == []
    there = {(block.page, block.heading) for block in BLOCKS} | {(block.page, None) for block in BLOCKS}
    assert known <= there, "a reason for a block that is gone"


def test_no_block_hides_in_another_language() -> None:
    languages = {block.language for page in pages() for block in blocks_of(page)}
    assert languages <= {"sh", "python", "json", "mermaid", ""}


@pytest.mark.parametrize(("place", "test"), RUN_BY.items(), ids=str)
def test_what_runs_a_block_reads_it_from_its_document(place: tuple[str, str | None], test: str) -> None:
    text = (ROOT / test).read_text(encoding="utf-8")
    assert place[0] in text
    assert place[1] is None or f'"{place[1]}"' in text


@pytest.mark.parametrize("block", BLOCKS, ids=ids)
def test_a_shell_block_names_what_there_is(block: Block) -> None:
    defined = set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", block.text)) | SET_BY_HAND
    settings = {name.upper() for name in Settings.model_fields}
    assert set(VARIABLE.findall(block.text)) <= settings | defined
    for line in block.lines:
        for command in re.split(r" && | \| ", line):
            _check(BEFORE_A_PROGRAM.sub("", command.strip()))


def _check(command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    assert program in OURS | PROGRAMS, f"what is {program}?"
    if program in OURS:
        _check_ours(words)
    elif program.endswith("just"):
        assert words[0] in recipes(), command
    elif program.endswith("alembic"):
        assert list((ROOT / "migrations" / "versions").glob(f"{words[-1]}_*.py")), command
    for word in words:
        if re.match(r"(?:ops|docs|scripts|tests|bench)/", word):
            assert exists(word), command


def _check_ours(words: list[str]) -> None:
    name = " ".join(words[:2]) if " ".join(words[:2]) in options_by_command() else words[0]
    assert name in options_by_command(), f"there is no command {name}"
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert options <= options_by_command()[name], f"{name}: {options}"
