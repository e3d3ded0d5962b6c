"""What documents may name: files, commands with their options, recipes."""

import re
from functools import cache

from neuronetz_gateway.cli.application import loaded
from neuronetz_gateway.cli.command_table import COMMANDS, Command
from tests.support.documents import ROOT


def exists(path: str) -> bool:
    """Whether a path from the root is there."""
    return (ROOT / path).exists()


def recipes() -> set[str]:
    """What `just` can be asked for."""
    return set(re.findall(r"^([a-z][a-z-]*)[^:=\n]*:(?!=)", (ROOT / "justfile").read_text("utf-8"), re.MULTILINE))


@cache
def options_by_command() -> dict[str, set[str]]:
    """Every command of the command line with the options that it takes."""
    return {command.name: _taken(command) for command in COMMANDS}


def _taken(command: Command) -> set[str]:
    taken = [option for each in loaded(command).params for option in (*each.opts, *each.secondary_opts)]
    return {"--help", "-h", *taken}
