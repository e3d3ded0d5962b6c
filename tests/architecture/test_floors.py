"""Imports only fall (DESIGN §2): every file stands on a floor and leans on lower floors or its own folder."""

import ast
import sys
from functools import cache
from pathlib import Path

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
    "errors": 1, "settings": 1, "observability": 1, "common_timer": 1,
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


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return frozenset(found)


def own(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def test_imports_only_fall() -> None:
    upwards = []
    for path in FILES:
        here = room(path)
        if here == "__init__":
            continue
        assert here in FLOORS, f"{here} has no floor in DESIGN §2"
        others = {there for name in imports(path) if (there := own(name)) is not None and there != here}
        upwards += [f"{path}: {here} imports {there}" for there in others if FLOORS[there] >= FLOORS[here]]
    assert upwards == []


def test_each_library_has_its_home() -> None:
    strays = []
    for path in FILES:
        libraries = {name.split(".")[0] for name in imports(path)}
        strays += [f"{path}: {name}" for name in libraries if room(path) not in HOMES.get(name, {room(path)})]
        if room(path) in PURE:
            impure = libraries - PURE_ALLOWED - {PACKAGE} - sys.stdlib_module_names
            strays += [f"{path}: {room(path)} is pure, {name} is not" for name in impure]
    assert strays == []


def test_a_file_says_in_its_first_line_what_it_is_for() -> None:
    """A docstring of one sentence."""
    firsts = {path: path.read_text(encoding="utf-8").splitlines()[0] for path in FILES}
    assert [path for path, line in firsts.items() if not line.startswith('"""')] == []
    assert [path for path, line in firsts.items() if not line.rstrip('"').endswith(".")] == []


def test_no_import_hides_inside_a_function() -> None:
    hidden = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(child, ast.Import | ast.ImportFrom) for child in ast.walk(node))
    ]
    assert hidden == []


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
