"""The systemd unit starts what there is, ends it in its time, and gives it no more than it needs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neuronetz_gateway.settings import Settings
from tests.support.documents import ROOT

UNIT = ROOT / "ops" / "systemd" / "neuronetz-gateway.service"
HARDENED = {
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "RestrictNamespaces": "yes", "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "UMask": "0077", "KillMode": "mixed",
}  # fmt: skip
FLUSH_SECONDS = 15
MOST_EXPOSURE = 2.0  # of 10, as systemd reckons it; it was 1.7


def directives() -> dict[str, str]:
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    return {name: value for name, _, value in lines}


def test_the_unit_gives_no_more_than_is_needed() -> None:
    assert directives() | HARDENED == directives()
    assert directives()["User"] not in {"", "root"}


def test_the_unit_starts_the_command_and_waits_for_its_drain() -> None:
    program, command, option, _ = directives()["ExecStart"].split()
    assert (Path(program).name, command, option) == ("neuronetz-gateway", "serve", "--env-file")
    fields = Settings.model_fields
    assert int(directives()["TimeoutStopSec"]) == fields["drain_timeout_s"].default + FLUSH_SECONDS
    assert int(directives()["LimitNOFILE"]) > fields["max_connections"].default


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd to ask")
def test_systemd_itself_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    program = directives()["ExecStart"].split()[0]
    text = UNIT.read_text().replace(program, sys.executable).replace("=neuronetz-gateway\n", "=daemon\n")
    copy.write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}", str(copy)]
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout
