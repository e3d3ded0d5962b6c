"""Builds the application from the table of commands, each of which is loaded when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal, cast, override

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from neuronetz_gateway.cli.command_table import COMMANDS, GROUPS, Command
from neuronetz_gateway.cli.invocation import NAME

_FOLDER = __name__.rpartition(".")[0]
_MARKUP: Literal["markdown"] = "markdown"
_VERSION = "version:show_version"


class LazyCommand(TyperCommand):
    """What the first help page and the completion of a shell need of a command, without loading it.

    As soon as its words are to be read (also to complete them, or for its own help page) the command itself stands in.
    """

    def __init__(self, command: Command) -> None:
        super().__init__(
            command.name.split()[-1],
            short_help=command.summary,
            help=command.summary,
            rich_help_panel=None if _of_group(command) else command.panel,
            rich_markup_mode=_MARKUP,
        )
        self._command = command

    @override
    def make_context(self, *given: Any, **more: Any) -> Any:
        return loaded(self._command).make_context(*given, **more)


def build() -> TyperGroup:
    """The application with its commands."""
    app = typer.Typer(
        name=NAME,
        help="A secure, multi-tenant gateway in front of Ollama: keys, limits, token budgets, an audit that holds.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=_MARKUP,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_first_page)
    first_page = cast("TyperGroup", get_command(app))  # which it is: there is a callback
    groups = {"": first_page}
    for command in COMMANDS:
        name = _of_group(command)
        if name not in groups:
            groups[name] = _group(name, command.panel)
            first_page.add_command(groups[name])
        groups[name].add_command(LazyCommand(command))
    return first_page


def work_of(place: str) -> Callable[..., int | None]:
    """The function at `module:function`; this loads the module in which it stands."""
    module, _, function = place.partition(":")
    work: Callable[..., int | None] = getattr(import_module(f"{_FOLDER}.{module}"), function)
    return work


def loaded(command: Command) -> TyperCommand:
    """The command as Typer makes it from its function."""
    lines = (f"{NAME} {command.name} {example}".rstrip() for example in command.examples)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=_MARKUP)
    alone.command(command.name.split()[-1], epilog="\n\n".join(("Examples:", *lines)))(work_of(command.work))
    return cast("TyperCommand", get_command(alone))


def _tell_version(wanted: bool) -> None:
    if wanted:
        work_of(_VERSION)()
        raise typer.Exit


def _first_page(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before any command."""


def _of_group(command: Command) -> str:
    """The group that a command belongs to, empty for one that stands alone."""
    first, _, second = command.name.partition(" ")
    return first if second else ""


def _group(name: str, panel: str) -> TyperGroup:
    return TyperGroup(
        name=name, help=GROUPS[name], no_args_is_help=True, rich_markup_mode=_MARKUP, rich_help_panel=panel
    )
