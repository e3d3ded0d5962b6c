"""The entry of the command line: one command run, whatever goes wrong told in one line."""

import gc
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from typer.exceptions import TyperException

from neuronetz_gateway.cli.application import build
from neuronetz_gateway.cli.invocation import NAME
from neuronetz_gateway.embedded.child import EmbeddedError
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.settings_error import SettingsError

TRACEBACK_VARIABLE = "NEURONETZ_TRACEBACK"
_INTERRUPTED = 130  # what a shell makes of SIGINT
_OBJECTS_A_COLLECTION = 50_000  # in the youngest generation: what is loaded is no garbage, so do not look so often
_KEY_LIKE = re.compile(r"nz_[0-9A-Za-z]{10,}", re.ASCII)  # longer than a prefix


def main() -> None:
    """Run one command; whatever goes wrong is one line on stderr with exit status 1."""
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    status = status_of(lambda: build()(prog_name=NAME, standalone_mode=False))
    gc.freeze()  # the interpreter would look through all of it once more at its end: a fifth of a short command's time
    sys.exit(status)


def status_of(command: Callable[[], Any]) -> int:
    """The exit status of a command; its errors are told on stderr, keys in them are cut to nothing."""
    try:
        result = command()
    except TyperException as error:
        return _failed(f"{error.format_message()}{_help_page(error)}")
    except (GatewayError, SettingsError, EmbeddedError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return _failed(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:
        # The edge: the text of an unknown error may hold what is secret, so its kind alone is told.
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _failed(f"unexpected {type(error).__name__}; {TRACEBACK_VARIABLE}=1 shows where it comes from")
    return result if isinstance(result, int) else 0


def _help_page(error: TyperException) -> str:
    """Where to read how the command is typed, if the message is about one."""
    context, message = getattr(error, "ctx", None), error.format_message()  # typer names no type for the context
    if context is None or not message:
        return ""
    return f"{'' if message.endswith(('.', '?')) else '.'} See: {context.command_path} --help"


def _failed(message: str) -> int:
    if message:  # empty where the help page was the answer
        print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
    return 1


def one_line(message: str) -> str:
    """A message on one line, without anything that looks like a whole key; of many lines the first and the last."""
    lines = [" ".join(part.split()) for part in message.splitlines() if part.strip()]
    kept = lines if len(lines) < 2 else [lines[0], lines[-1]]  # noqa: PLR2004 - the first and the last
    printable = "".join(character for character in " ".join(kept) if character.isprintable())
    return _KEY_LIKE.sub("nz_...", printable)
