"""An env file that leads to stores of a test's own."""

from pathlib import Path

import pytest

from tests.support.gateways import make_settings, write_env_file
from tests.support.stores import Stores

NOBODY_THERE = "http://127.0.0.1:9"


@pytest.fixture
def env_file(stores: Stores, tmp_path: Path, no_settings: None) -> Path:
    del no_settings  # what the shell of the test run says would win over the file
    return write_env_file(tmp_path / "test.env", make_settings(stores, NOBODY_THERE))
