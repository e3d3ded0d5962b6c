"""The Caddyfile is one that Caddy takes as it stands, for the names that operators may give."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.dockerfile import ROOT
from tests.support.edge import CADDYFILE, caddy

pytestmark = pytest.mark.promise("P2")


@pytest.mark.parametrize("site", ["api.example.org", "api.example.org, api.example.net", "http://127.0.0.1:8081"])
def test_caddy_takes_it_without_a_word_of_blame(tmp_path: Path, site: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GATEWAY_SITE": site}
    words = (caddy(), "validate", "--adapter", "caddyfile", "--config", str(CADDYFILE))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
    assert '"level":"error"' not in done.stderr


def test_it_is_formatted_as_caddy_formats() -> None:
    done = subprocess.run([caddy(), "fmt", str(CADDYFILE)], capture_output=True, text=True, check=False)
    assert done.stdout == CADDYFILE.read_text(encoding="utf-8")


def test_the_stack_mounts_this_very_file() -> None:
    assert f"./{CADDYFILE.relative_to(ROOT)}:" in (ROOT / "docker-compose.yml").read_text().replace("}:", ":")
