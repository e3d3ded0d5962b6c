"""Runs one piece of asynchronous work of a command between the opening and the closing of what it works with."""

import asyncio
import getpass
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from neuronetz_gateway.db.causes import name_of
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.settings import Settings, load_settings

_DATABASE = "Is it running, is DATABASE_URL right, has the command migrate been run on it? The command doctor looks."

type Opened[S] = Callable[[Settings], AbstractAsyncContextManager[S]]
type Work[S, T] = Callable[[S], Awaitable[T]]


def run[S, T](opened: Opened[S], work: Work[S, T], env_file: Path | None, given: Mapping[str, str] | None = None) -> T:
    """The result of the work; raises SettingsError for bad settings and whatever GatewayError the work raises.

    Settings that are `given` win over whatever is set.
    """
    settings = load_settings(env_file, given)
    try:
        return run_with(opened, work, settings)
    except UnavailableError as error:
        if type(error) is not UnavailableError:  # those say themselves what is away
            raise
        kind = f" ({name_of(error.__cause__)})" if error.__cause__ else ""
        raise UnavailableError(f"{error.message.rstrip('.')}{kind}. {_DATABASE}") from error


def run_with[S, T](opened: Opened[S], work: Work[S, T], settings: Settings) -> T:
    """The same for settings that are loaded already."""
    keep_stdout_for_results()
    return asyncio.run(_carried(opened, work, settings))


async def _carried[S, T](opened: Opened[S], work: Work[S, T], settings: Settings) -> T:
    async with opened(settings) as what:
        return await work(what)


def keep_stdout_for_results() -> None:
    """What services log beside a command goes to stderr, errors alone: a command tells its failure itself."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,  # quickstart goes on to serve, with the log lines of a server
    )


def actor() -> str:
    """Who gives the command, from which machine, as revocations and changes are signed with."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's uid need not have a name
        name = f"uid-{os.getuid()}"
    return f"cli:{name}@{socket.gethostname()}"
