"""What the compose files open to whom (P1), by what compose itself makes of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neuronetz_gateway.settings import Settings, load_settings
from tests.support.dockerfile import DOCKERFILE, ROOT, stages

COMPOSE = str(Path(sys.executable).with_name("docker-compose"))
PINNED = re.compile(r"^[\w./-]+:\d+\.\d+\.?\d*(-[\w.]+)?$")
FINAL = stages(DOCKERFILE.read_text(encoding="utf-8"))[-1]
OF_THE_PRODUCT = ("caddy", "gateway", "postgres", "redis", "ollama", "pull")

pytestmark = pytest.mark.promise("P1")


def resolved(folder: Path, file: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A compose file as whoever follows its first lines has it: beside a copy of .env.example that is named .env."""
    for name in (file, ".env.example"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / ".env.example", folder / ".env")
    return subprocess.run(
        [COMPOSE, "--file", file, "--profile", "*", "config", "--format", "json", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def services_of(folder: Path, file: str, **environment: str) -> dict[str, Any]:
    done = resolved(folder, file, **environment)
    assert done.stdout, done.stderr
    assert "not set" not in done.stderr, "a variable without a value"
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return services_of(tmp_path_factory.mktemp("stack"), "docker-compose.yml", GATEWAY_SITE="api.example.org")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return services_of(tmp_path_factory.mktemp("dev"), "docker-compose.dev.yml")


def test_only_caddy_publishes_ports(stack: dict[str, Any]) -> None:
    services = stack["services"]
    assert set(services) == set(OF_THE_PRODUCT)
    assert {name for name, each in services.items() if each.get("ports")} == {"caddy"}
    assert {int(port["published"]) for port in services["caddy"]["ports"]} == {80, 443}
    assert not any(each.get("network_mode") for each in services.values())


def test_gateway_and_stores_and_ollama_have_no_way_out(stack: dict[str, Any]) -> None:
    internal = {name for name, each in stack["networks"].items() if each.get("internal")}
    for name in ("gateway", "postgres", "redis", "ollama"):
        assert set(stack["services"][name]["networks"]) <= internal, name
    together = {name for name, each in stack["services"].items() if "back" in each["networks"]}
    assert together == {"gateway", "postgres", "redis", "ollama"}
    assert {name for name, each in stack["services"].items() if "front" in each["networks"]} == {"caddy", "gateway"}
    assert set(stack["services"]["pull"]["networks"]) == {"registry"}, "who fetches models reaches nobody else"


def test_caddy_is_the_one_proxy_that_is_believed(stack: dict[str, Any]) -> None:
    address = stack["services"]["caddy"]["networks"]["front"]["ipv4_address"]
    assert stack["services"]["gateway"]["environment"]["TRUSTED_PROXIES"] == address


@pytest.mark.parametrize("name", OF_THE_PRODUCT)
def test_no_service_has_more_than_it_needs(stack: dict[str, Any], name: str) -> None:
    service = stack["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert service["restart"] == ("no" if name == "pull" else "unless-stopped")
    assert service["logging"]["options"]["max-size"]
    if name != "gateway":
        assert PINNED.match(service["image"]), "a version, to the minor one at the least"


def test_the_gateway_runs_as_the_image_says_with_room_for_its_metrics_alone(stack: dict[str, Any]) -> None:
    service = stack["services"]["gateway"]
    assert "user" not in service
    assert service["tmpfs"] == ["/tmp:size=64m,mode=1777"]  # noqa: S108 - the container's own
    assert not service.get("volumes")
    drain_seconds = float(Settings.model_fields["drain_timeout_s"].default)
    assert service["stop_grace_period"] == f"{drain_seconds + 15:.0f}s"


def test_each_starts_when_what_it_needs_is_well(stack: dict[str, Any]) -> None:
    services = stack["services"]
    assert services["caddy"]["depends_on"]["gateway"]["condition"] == "service_healthy"
    for store in ("postgres", "redis"):
        assert services["gateway"]["depends_on"][store]["condition"] == "service_healthy"
        assert services[store]["healthcheck"]["test"]
    assert FINAL.all("HEALTHCHECK")


def test_redis_forgets_nothing(stack: dict[str, Any]) -> None:
    command = stack["services"]["redis"]["command"]
    given = dict(zip(command[2::2], command[3::2], strict=True))
    assert given["--maxmemory-policy"] == "noeviction"
    assert given["--appendonly"] == "yes"


@pytest.mark.promise("N6")
def test_ollama_stays_on_this_machine(stack: dict[str, Any]) -> None:
    for name in ("ollama", "pull"):
        environment = stack["services"][name]["environment"]
        assert environment["OLLAMA_NO_CLOUD"] == "1"
        assert "OLLAMA_DEBUG_LOG_REQUESTS" not in environment
    assert stack["services"]["pull"]["profiles"] == ["pull"]
    assert stack["services"]["pull"]["environment"]["OLLAMA_HOST"].startswith("127.0.0.1:")


@pytest.mark.promise("K1")
def test_no_secret_stands_in_the_environment(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|PEPPER|_KEY$|_KEY_|DATABASE_URL|REDIS_URL", variable):
                is_file = variable.endswith("_FILE")
                assert value.startswith("/run/secrets/") if is_file else value in ("", None) or "TTL" in variable, (
                    name, variable,
                )  # fmt: skip
    assert all(secret["file"] for secret in stack["secrets"].values())


@pytest.mark.promise("K1")
def test_the_secrets_that_are_made_let_a_gateway_in_production_start(
    stack: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole environment of the service, with its secrets where the script has put them."""
    if os.geteuid() != 0:
        pytest.skip("not root, so the secrets cannot be given to the group of the containers")
    folder = tmp_path / "secrets"
    made = subprocess.run([ROOT / "ops" / "make-secrets", folder], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert {Path(secret["file"]).name for secret in stack["secrets"].values()} == {
        file.name for file in folder.iterdir()
    }
    for file in folder.iterdir():
        status = file.stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o440, 0, 10001)
    before = {file.name: file.read_text() for file in folder.iterdir()}
    subprocess.run([ROOT / "ops" / "make-secrets", folder], capture_output=True, check=True)
    assert {file.name: file.read_text() for file in folder.iterdir()} == before, "what is there stays"
    for name in list(os.environ):
        if name.upper().removesuffix("_FILE").lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    for name, value in stack["services"]["gateway"]["environment"].items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(folder)))
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.key_pepper.get_secret_value() == before["key_pepper"].strip()
    assert before["database_password"].strip() in settings.database_url.get_secret_value()
    assert before["redis_auth.conf"].removeprefix("requirepass ").strip() in settings.redis_url.get_secret_value()
    assert settings.metrics_port != settings.port


def test_the_stack_says_what_it_wants_to_be_told(tmp_path: Path) -> None:
    done = resolved(tmp_path, "docker-compose.yml")
    assert done.stdout == ""
    assert "GATEWAY_SITE" in done.stderr
    assert "api.example.org" in done.stderr


def test_for_development_a_copy_of_the_example_is_enough(
    dev: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(dev["services"]) == {"gateway", "postgres", "redis"}
    ports = [port for each in dev["services"].values() for port in each.get("ports", [])]
    assert [(port["host_ip"], port["published"], port["target"]) for port in ports] == [("127.0.0.1", "8080", 8080)]
    for name, value in dev["services"]["gateway"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.host == "0.0.0.0"  # noqa: S104 - within its container
    assert "@postgres:" in settings.database_url.get_secret_value()


def test_both_run_the_same_stores(stack: dict[str, Any], dev: dict[str, Any]) -> None:
    for name in ("postgres", "redis"):
        assert stack["services"][name]["image"] == dev["services"][name]["image"]
    for name, each in stack["services"].items():
        if name in ("ollama", "pull"):
            assert each["image"] == stack["services"]["ollama"]["image"]
