"""What the image is made of, who runs in it, what is not in it (P1), by its Dockerfile."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.dockerfile import DOCKERFILE, ROOT, context, stages
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import free_port, live_gateway
from tests.support.stores import Stores

BUILD, FINAL = stages(DOCKERFILE.read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLACE = re.compile(r"https?://|index-url|find-links|git\+")

pytestmark = pytest.mark.promise("P1")


def health_check() -> list[str]:
    words: list[str] = json.loads(FINAL.only("HEALTHCHECK").partition(" CMD ")[2])
    return words


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_who_runs_in_it_is_a_number_that_is_not_root() -> None:
    uid, gid = FINAL.only("USER").split(":")
    assert int(uid) > 0 < int(gid)
    order = [each.word for each in FINAL.instructions]
    assert order.index("USER") > max(place for place, word in enumerate(order) if word in {"RUN", "COPY"})


def test_signals_reach_the_gateway_itself() -> None:
    assert json.loads(FINAL.only("ENTRYPOINT")) == ["neuronetz-gateway"]
    assert json.loads(FINAL.only("CMD")) == ["serve"]
    assert health_check()[0] == "python", "a list of words, without a shell"
    assert not FINAL.all("STOPSIGNAL")


def test_the_last_stage_takes_nothing_but_what_the_first_has_built() -> None:
    assert FINAL.all("COPY") == ["--from=build /opt/gateway /opt/gateway"]
    assert not FINAL.all("ADD") + BUILD.all("ADD")
    (command,) = FINAL.all("RUN")
    assert not re.search(r"\b(apt|apt-get|apk|curl|wget|gcc|make)\b", command)
    assert "rm -rf /usr/local/lib/python3.12/site-packages" in command, "pip stays behind"
    assert FINAL.environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_everything_that_is_installed_is_held_to_its_hash() -> None:
    installs = [each for command in BUILD.all("RUN") for each in command.split(" && ") if " install " in each]
    assert len(installs) == 3
    for each in installs[:2]:
        assert "--no-deps" in each
        assert "--only-binary :all:" in each
        assert "--require-hashes" in each
    assert "--no-index dist/*.whl" in installs[2]
    assert not PLACE.search(DOCKERFILE.read_text(encoding="utf-8"))


def test_its_labels_say_what_it_is_in_the_version_of_the_project() -> None:
    said = FINAL.only("LABEL")
    for label in ("title", "description", "version", "vendor", "licenses"):
        assert f"org.opencontainers.image.{label}=" in said
    assert f'"{PROJECT["project"]["license"]}"' in said
    assert FINAL.only("ARG") == f"VERSION={PROJECT['project']['version']}"


def test_of_the_folder_only_what_is_built_is_given_away() -> None:
    names = set(context((ROOT / ".dockerignore").read_text(encoding="utf-8")))
    copied = {name for said in BUILD.all("COPY") for name in said.split()[:-1]}
    assert names == copied
    assert all((ROOT / name).exists() for name in names)


def requirement_blocks(name: str) -> dict[str, set[str]]:
    """By `name==version ; marker`: the hashes."""
    parts = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = [part for part in parts if part.strip()]
    return {block.split(" \\")[0]: set(re.findall(r"--hash=(\S+)", block)) for block in blocks}


@pytest.mark.promise("P3")
@pytest.mark.parametrize("name", ["requirements-production.lock", "requirements-build.lock"])
def test_what_goes_into_the_image_is_locked_as_it_is_for_everybody(name: str) -> None:
    everything, some = requirement_blocks("requirements.lock"), requirement_blocks(name)
    assert some
    for package, hashes in some.items():
        assert hashes, package
        assert hashes == everything.get(package), package
    assert not PLACE.search((ROOT / name).read_text(encoding="utf-8"))
    assert f"> {name}\n" in (ROOT / "justfile").read_text(encoding="utf-8"), "`just lock` writes all of them"


@pytest.mark.promise("P3")
def test_production_has_what_it_needs_and_none_of_what_tests_it() -> None:
    locked = {re.split("==", package)[0] for package in requirement_blocks("requirements-production.lock")}
    wanted = {re.match(r"[\w-]+", each)[0].lower() for each in PROJECT["project"]["dependencies"]}  # type: ignore[index]
    assert wanted <= locked
    groups = PROJECT["dependency-groups"]
    others = [each for group in groups.values() for each in group if isinstance(each, str)]
    others += [each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra]
    assert not {re.match(r"[\w-]+", each)[0].lower() for each in others} & locked  # type: ignore[index]
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


async def asked(port: int) -> int:
    python, *words = health_check()
    assert python == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, env={"PORT": str(port)}, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


async def test_the_health_check_tells_a_gateway_from_none(stores: Stores) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with live_gateway(stores, nowhere) as gateway:  # not ready, alive all the same
        assert await asked(int(gateway.base_url.rpartition(":")[2])) == 0
    assert await asked(free_port()) != 0
    async with FakeOllama() as other:
        assert await asked(other.port) != 0, "something else listens there"
