"""Running the targets: `python -m fuzz [seconds for each] [names]`."""

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from fuzz.target import Target

NAMES = (
    "strict_json", "bodies", "meters", "records", "model_names", "upstream_answers", "lengths_of_time", "addresses",
    "documents",
)  # fmt: skip
_SECONDS = 60
_FOLDER = Path(".fuzz")
_LONGEST_INPUT_BYTES = 4096
_SLOW_SECONDS = 10


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def named(name: str) -> Target:
    target = import_module(f"fuzz.{name}").TARGET
    if not isinstance(target, Target):
        raise TypeError(f"fuzz.{name} has no target")
    return target


def folder_of(name: str) -> Path:
    """Where a target's inputs are kept from run to run, out of git's sight, the seeds among them."""
    corpus = _FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    (_FOLDER / ".gitignore").write_text("*\n")
    target = named(name)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    (_FOLDER / f"{name}.words").write_text("".join(f'"{word}"\n' for word in escaped))
    return corpus


def fuzzed(name: str, seconds: int) -> bool:
    """Whether a target held for so long; what broke it is printed with its input, which is kept."""
    corpus, begun = folder_of(name), time.monotonic()
    say(f"== {name}: {seconds} s, {len(list(corpus.iterdir()))} inputs to start from")
    options = (
        f"-max_total_time={seconds}", f"-max_len={_LONGEST_INPUT_BYTES}", f"-timeout={_SLOW_SECONDS}",
        f"-dict={_FOLDER / name}.words", f"-artifact_prefix={_FOLDER / name}-", "-print_final_stats=1", "-verbosity=0",
    )  # fmt: skip
    command = (sys.executable, "-m", "fuzz.one", name, *options, str(corpus))
    held = subprocess.run(command, check=False).returncode == 0  # noqa: S603 - our own program, of names in the table
    say(f"== {name}: {'held' if held else 'BROKEN'} after {time.monotonic() - begun:.0f} s")
    return held


def main(arguments: list[str]) -> int:
    seconds = int(arguments[0]) if arguments else _SECONDS
    broken = [name for name in arguments[1:] or NAMES if not fuzzed(name, seconds)]
    say("broken: " + ", ".join(broken) if broken else "all targets held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
