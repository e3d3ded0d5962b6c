"""Imports only fall (DESIGN §2): every file stands on a floor and leans on lower floors or its own folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "neuronetz_gateway"
PACKAGE = "neuronetz_gateway"
FLOORS = {
    "asgi": 7,
    "app": 6, "cli": 6,
    "http": 5, "wiring": 5,
    "services": 4,
    "repositories": 3, "surfaces": 3, "counters": 3, "key_hashing": 3, "prompt_cipher": 3, "checkpoint_signing": 3,
    "db": 2, "domain": 2, "upstream": 2, "embedded": 2,
    "errors": 1, "settings": 1, "observability": 1,
    "secret_rules": 0, "settings_error": 0,
}  # fmt: skip
HOMES = {
    "fastapi": {"app", "asgi", "http"},
    "starlette": {"app", "asgi", "http"},
    "sqlalchemy": {"db", "repositories", "wiring"},
    "asyncpg": {"db", "repositories", "wiring"},
    "alembic": {"db"},
    "redis": {"counters", "wiring"},
    "httpx": {"upstream", "wiring", "http"},  # http/upstream_errors names httpx's exceptions to callers
    "httptools": {"upstream"},
    "typer": {"cli"},
    "argon2": {"key_hashing"},
    "cryptography": {"prompt_cipher", "checkpoint_signing"},
    "prometheus_client": {"observability"},
}
PURE = {"domain", "surfaces"}
PURE_ALLOWED = {"orjson", "msgspec"}
MEDIAN_LINES = 120
MOST_LINES = 350

FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The folder, or for files at the root the module, that gives a file its floor."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def own(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_fall(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} has no floor in DESIGN §2"
    for name in imports(path):
        there = own(name)
        if there is None or there == here:
            continue
        assert FLOORS[there] < FLOORS[here], f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_library_has_its_home(path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        if library in HOMES:
            assert room(path) in HOMES[library], f"{library} is not for {room(path)}"
        if room(path) in PURE and library not in PURE_ALLOWED | {PACKAGE}:
            assert library in __import__("sys").stdlib_module_names, f"{room(path)} is pure, {library} is not"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith('"""'), "the first line is the file's docstring"
    assert first.rstrip('"').endswith("."), "one sentence on the first line"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_import_hides_inside_a_function(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
            assert not inner, f"{path}:{node.lineno}"


def test_rooms_stay_small() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in FILES if path.name != "__init__.py")
    assert lengths[-1] <= MOST_LINES
    assert lengths[len(lengths) // 2] < MEDIAN_LINES


def test_there_is_no_circle_within_a_folder() -> None:
    names = {f"{PACKAGE}." + ".".join(p.relative_to(SOURCE).with_suffix("").parts): p for p in FILES}
    graph = {name: {other for other in imports(path) if other in names} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name in done:
            return
        for other in graph[name]:
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())
