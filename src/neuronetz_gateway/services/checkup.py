"""Examines everything that a gateway leans on, each part for itself, none for longer than its deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

from neuronetz_gateway.db.causes import name_of
from neuronetz_gateway.domain.checkup import CheckResult, broken
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.services.checkup_host import (
    check_disk,
    check_files,
    check_open_files,
    check_proxies,
    check_settings,
)
from neuronetz_gateway.services.checkup_ollama import check_exposure, check_ollama
from neuronetz_gateway.services.checkup_postgres import check_postgres
from neuronetz_gateway.services.checkup_redis import check_redis
from neuronetz_gateway.settings import Settings

_DEADLINE_SECONDS = 5.0
_MENDS = {
    "postgres": "is it running? is DATABASE_URL right: address, role, password, name of the database?",
    "redis": "is it running? is REDIS_URL right: address, password?",
    "ollama": "is Ollama running? is OLLAMA_BASE_URL right?",
}

type Check = Callable[[], Awaitable[list[CheckResult]]]


async def examine(
    settings: Settings,
    env_file: Path | None,
    *,
    now: Callable[[], datetime],
    deadline_seconds: float = _DEADLINE_SECONDS,
) -> list[CheckResult]:
    """All results in the order of the checks; whatever goes wrong in one of them is a result of its own."""
    checks: Sequence[tuple[str, Check]] = (
        ("settings", lambda: asyncio.to_thread(check_settings, settings)),
        ("secret files", lambda: asyncio.to_thread(check_files, env_file)),
        ("trusted proxies", lambda: asyncio.to_thread(check_proxies, settings)),
        ("open files", lambda: asyncio.to_thread(check_open_files, settings)),
        ("checkpoint file", lambda: asyncio.to_thread(check_disk, settings)),
        ("postgres", lambda: check_postgres(settings, now)),
        ("redis", lambda: check_redis(settings)),
        ("ollama", lambda: check_ollama(settings)),
        ("ollama exposed", lambda: check_exposure(settings)),
    )
    found = await asyncio.gather(*(_bounded(name, check, deadline_seconds) for name, check in checks))
    return [result for results in found for result in results]


async def _bounded(name: str, check: Check, deadline_seconds: float) -> list[CheckResult]:
    mend = _MENDS.get(name, "")
    try:
        async with asyncio.timeout(deadline_seconds):
            return await check()
    except TimeoutError:
        return [broken(name, f"no answer within {deadline_seconds:g} s", mend)]
    except UnavailableError as error:
        kind = "" if error.__cause__ is None else name_of(error.__cause__)
        words = error.message.rstrip(".")
        return [broken(name, words if kind in words else f"{words} ({kind})", mend)]
    except OSError as error:
        return [broken(name, f"{error.strerror or type(error).__name__}: {error.filename or 'unknown'}", mend)]
    except Exception as error:  # noqa: BLE001 - one check must not hide the others; its text may hold what is secret
        return [broken(name, f"the check itself failed: {type(error).__name__}", "report it")]
