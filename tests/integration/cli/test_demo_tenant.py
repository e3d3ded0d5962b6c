"""The tenant of a quickstart with its one key, whatever has been lost meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neuronetz_gateway.cli.demo_tenant import prepared
from neuronetz_gateway.cli.opened_upstream import WithUpstream, management_with_upstream
from neuronetz_gateway.cli.quickstart_files import QuickstartFiles
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import make_settings
from tests.support.stores import Stores


@pytest.fixture
def files(tmp_path: Path) -> QuickstartFiles:
    return QuickstartFiles(tmp_path)


@pytest.fixture
async def opened(stores: Stores, ollama: FakeOllama) -> AsyncIterator[WithUpstream]:
    async with management_with_upstream(make_settings(stores, ollama.base_url)) as both:
        yield both


async def test_the_first_run_makes_a_tenant_with_one_key_that_later_runs_find(
    opened: WithUpstream, files: QuickstartFiles, ollama: FakeOllama
) -> None:
    ollama.models = ("nomic-embed-text:latest", "smollm2:135m")
    first = await prepared(opened.managed, opened.upstream, files, keys_are_dead=True)
    assert first.key is not None
    assert (first.model, first.remark) == ("smollm2:135m", None)
    again = await prepared(opened.managed, opened.upstream, files, keys_are_dead=False)
    assert (again.key, again.remark) == (first.key, None)
    (tenant,) = await opened.managed.tenants.list()
    assert (tenant.name, tenant.allow_all_models) == ("demo", True)
    assert [key.prefix for key in await opened.managed.api_keys.list("demo")] == [first.key.prefix]


@pytest.mark.parametrize("what", ["its file", "the pepper", "revoked"])
async def test_a_key_that_is_lost_is_told_with_how_to_make_a_new_one(
    what: str, opened: WithUpstream, files: QuickstartFiles
) -> None:
    first = await prepared(opened.managed, opened.upstream, files, keys_are_dead=False)
    assert first.key is not None
    if what == "its file":
        (files.env_file.parent / "demo-key").unlink()
    if what == "revoked":
        await opened.managed.api_keys.revoke(first.key.prefix, actor="test", reason="")
    found = await prepared(opened.managed, opened.upstream, files, keys_are_dead=what == "the pepper")
    assert found.key is None
    assert found.remark is not None
    assert what.removeprefix("the ") in found.remark
    assert "neuronetz-gateway create-key --tenant demo" in found.remark
    assert len(await opened.managed.api_keys.list("demo")) == 1
