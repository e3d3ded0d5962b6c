"""The embedded Valkey never evicts; it keeps what it was given, whoever is killed."""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from neuronetz_gateway.embedded.child import EmbeddedError
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from tests.integration.embedded.conftest import Parent

PARENT = """
import pathlib, sys, time
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
valkey = EmbeddedValkey(pathlib.Path(sys.argv[1]))
valkey.start()
print(valkey.url, flush=True)
time.sleep(600)
"""


@contextmanager
def running(data_dir: Path) -> Iterator[EmbeddedValkey]:
    valkey = EmbeddedValkey(data_dir)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()


@contextmanager
def connected(url: str) -> Iterator["redis.Redis"]:
    connection = redis.Redis.from_url(url, decode_responses=True)
    try:
        yield connection
    finally:
        connection.close()


def test_it_keeps_an_append_only_file_without_evicting(tmp_path: Path) -> None:
    expected = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "port": "0"}
    with running(tmp_path) as valkey:
        with connected(valkey.url) as connection:
            assert {name: connection.config_get(name)[name] for name in expected} == expected
        socket_path = Path(urlsplit(valkey.url).path)
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    valkey.stop()
    with pytest.raises(EmbeddedError, match="not been started"):
        assert valkey.url


def test_what_was_stored_is_there_after_a_stop(tmp_path: Path) -> None:
    with running(tmp_path) as valkey, connected(valkey.url) as connection:
        connection.set("kept", "still here")
    with running(tmp_path) as valkey, connected(valkey.url) as connection:
        assert connection.get("kept") == "still here"


def test_what_was_stored_outlives_a_kill_of_everything(
    tmp_path: Path, parent: Callable[..., Parent], gone: Callable[[int], bool], killed: list[int]
) -> None:
    first = parent(PARENT, tmp_path)
    with connected(first.line()) as connection:
        connection.set("kept", "still here")
        killed.append(int(connection.info()["process_id"]))
    first.kill()
    assert gone(killed[0])
    with running(tmp_path) as valkey, connected(valkey.url) as connection:
        assert connection.get("kept") == "still here"


def test_the_same_data_are_not_opened_twice(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(EmbeddedError, match="another process already runs valkey"):
        EmbeddedValkey(tmp_path).start()


def test_too_deep_a_directory_has_its_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with running(deep) as valkey, connected(valkey.url) as connection:
        assert connection.ping()
