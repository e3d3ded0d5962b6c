"""What the documents name is there: files, links, settings, commands with their options, recipes."""

import re
from pathlib import PurePosixPath

import pytest

from neuronetz_gateway.cli.command_table import COMMANDS
from neuronetz_gateway.settings import Settings
from tests.support.documents import anchors_of, blocks_of, pages, prose_of, text_of
from tests.support.what_exists import exists, options_by_command, recipes

PACKAGE = "src/neuronetz_gateway"
PAGES = [page for page in pages() if page != "CHANGELOG.md"]  # which tells of what was, too
TOP = "src|tests|docs|bench|scripts|migrations|ops|fuzz|deploy|shared"
ROOMS = "http|services|repositories|surfaces|counters|domain|db|upstream|embedded|cli|observability"
FULL_PATH = re.compile(rf"`((?:{TOP})/[\w./-]+)`")
ROOM_PATH = re.compile(rf"`((?:{ROOMS})/[\w./-]*\.(?:py|lua))`")
FILE_AT_THE_ROOT = re.compile(
    r"`((?:Dockerfile|justfile|alembic\.ini|docker-compose[\w.]*\.yml|[A-Z]+\.md|\.env\.example|requirements\.lock"
    r"|pyproject\.toml))`"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
SCREAMING = re.compile(r"^\$?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?$")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
RECIPE = re.compile(r"`just ([a-z][a-z-]*)")
# Variables of other programs, words of Postgres and Redis, names that stand for any setting.
NOT_OURS = {
    *("OLLAMA_LOAD_TIMEOUT", "OLLAMA_MAX_QUEUE", "OLLAMA_HOST", "OLLAMA_NUM_PARALLEL", "OLLAMA_KEEP_ALIVE"),
    *("OLLAMA_MAX_LOADED_MODELS", "NAME_FILE", "NEURONETZ_ENV_FILE", "NEURONETZ_TRACEBACK"),
    *("GATEWAY_SITE", "GATEWAY_UPSTREAM", "PROMETHEUS_MULTIPROC_DIR", "TCP_NOTSENT_LOWAT", "CONFIG_ARGS"),
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_document_names_is_there(page: str) -> None:
    text = text_of(page)
    named = FULL_PATH.findall(text) + FILE_AT_THE_ROOT.findall(text)
    named += [f"{PACKAGE}/{path}" for path in ROOM_PATH.findall(text)]
    assert [path for path in named if not exists(path) and not path.startswith("bench/results/")] == []
    assert "shared/" not in named, "that folder is no part of the repository"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    dead = []
    for target in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = _resolved(page, path) if path else page
        if not exists(there) or (anchor and there.endswith(".md") and anchor not in anchors_of(there)):
            dead.append(target)
    assert dead == []


def _resolved(page: str, path: str) -> str:
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_document_names_exists(page: str) -> None:
    ours = {name.upper() for name in Settings.model_fields}
    known = ours | {f"{name}_FILE" for name in ours} | NOT_OURS
    named = {found[1] for code in CODE.findall(prose_of(page)) if (found := SCREAMING.match(code))}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_sentence_exists_with_its_options(page: str) -> None:
    for code in CODE.findall(prose_of(page)):
        name, options = _command_in(code)
        if name is None:
            continue
        assert name in options_by_command(), f"{page}: {code}"
        assert set(options) <= options_by_command()[name], f"{page}: {code}"


def _command_in(code: str) -> tuple[str | None, list[str]]:
    """The command that a piece of code begins with, and what options it has."""
    words = code.split()
    by_name = words[0].endswith("neuronetz-gateway") and len(words) > 1
    words = words[1:] if by_name else words
    for count in (2, 1):
        if " ".join(words[:count]) in options_by_command():
            return " ".join(words[:count]), OPTION.findall(code)
    return (words[0] if by_name and not words[0].startswith("-") else None), []


@pytest.mark.parametrize("page", PAGES)
def test_every_recipe_that_a_document_names_exists(page: str) -> None:
    assert set(RECIPE.findall(text_of(page))) <= recipes()


def test_the_commands_are_read_whole() -> None:
    assert options_by_command().keys() == {command.name for command in COMMANDS}
    assert {"--tenant", "--rpm", "--env-file"} <= options_by_command()["set-limits"]


ARROW = r"\s*(?:-->|---|-\.->)(?:\|\"[^\"|]+\"\|)?\s*"
NODE = r"\w+(?:\[\"[^\"\[\]]+\"\]|\[\(\"[^\"]+\"\)\]|\(\"[^\"()]+\"\))?"
FLOWCHART_LINE = re.compile(rf"{NODE}(?:{ARROW}{NODE})*")
SEQUENCE_LINE = re.compile(r"(?:participant \w+ as [\w -]+|\w+-?->>\w+: [^;#]+)")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "mermaid")])
def test_every_diagram_keeps_to_what_is_drawn_everywhere(page: str) -> None:
    """No program that draws them is here: so they have quoted labels, simple arrows, nothing else."""
    for block in blocks_of(page, "mermaid"):
        kind, *lines = (line.strip() for line in block.text.strip().splitlines())
        assert kind in {"flowchart LR", "flowchart TD", "sequenceDiagram"}
        shape = SEQUENCE_LINE if kind == "sequenceDiagram" else FLOWCHART_LINE
        assert [line for line in lines if not shape.fullmatch(line)] == []
