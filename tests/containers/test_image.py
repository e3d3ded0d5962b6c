"""The image built and run for real, where an engine for containers is there."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.dockerfile import ROOT

pytestmark = [pytest.mark.full, pytest.mark.promise("P1"), pytest.mark.timeout(1800)]

_IMAGE = "neuronetz-gateway:of-the-tests"
_SEALED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


def engine() -> str:
    """The first engine that answers; without one the test is skipped, saying so."""
    for name in ("podman", "docker"):
        found = shutil.which(name)
        if found and subprocess.run([found, "info"], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip("neither podman nor docker answers here, so no image was built: test_image_here.py runs its steps")


def ran(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[str, str]]:
    """The engine, with the image that it has built. NEURONETZ_IMAGE_BASE may name another base image."""
    program = engine()
    base = os.environ.get("NEURONETZ_IMAGE_BASE")
    ran(program, "build", "--tag", _IMAGE, *(("--build-arg", f"BASE={base}") if base else ()), ".")
    yield program, _IMAGE
    ran(program, "rmi", "--force", _IMAGE)


def test_it_says_of_itself_what_the_dockerfile_says(image: tuple[str, str]) -> None:
    program, name = image
    (described,) = json.loads(ran(program, "image", "inspect", name))
    config = described["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["neuronetz-gateway"]
    assert config["Labels"]["org.opencontainers.image.title"] == "neuronetz-gateway"


def test_sealed_it_waits_for_its_database_then_ends_on_sigterm(image: tuple[str, str]) -> None:
    program, name = image
    settings = {
        "DATABASE_URL": "postgresql+asyncpg://gateway@127.0.0.1:1/gateway",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "KEY_PEPPER": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    }
    environment = [word for each in settings.items() for word in ("--env", "=".join(each))]
    container = ran(program, "run", "--detach", *_SEALED, *environment, name)
    try:
        until = time.monotonic() + 60
        while "Waiting for Postgres" not in (said := both_streams(program, container)) and time.monotonic() < until:
            time.sleep(0.2)
        assert "Waiting for Postgres" in said
        assert "uid=10001 gid=10001" in ran(program, "exec", container, "id")
        ran(program, "stop", "--time", "20", container)
        (state,) = json.loads(ran(program, "inspect", container))
        assert state["State"]["ExitCode"] in {0, 130}, both_streams(program, container)
    finally:
        ran(program, "rm", "--force", container)


def both_streams(program: str, container: str) -> str:
    done = subprocess.run([program, "logs", container], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
