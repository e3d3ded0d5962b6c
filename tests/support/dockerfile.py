"""The Dockerfile as instructions, and its build stage run here, by its own words, in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
HOME_OF_THE_GATEWAY = "/opt/gateway"


class Instruction(NamedTuple):
    word: str
    rest: str


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, word: str) -> list[str]:
        return [each.rest for each in self.instructions if each.word == word]

    def only(self, word: str) -> str:
        (found,) = self.all(word)
        return found

    @property
    def environment(self) -> dict[str, str]:
        pairs = (re.findall(r'(\w+)=("[^"]*"|\S*)', said) for said in self.all("ENV"))
        return {name: value.strip('"') for each in pairs for name, value in each}


def stages(text: str) -> list[Stage]:
    """Every stage with its instructions; continued lines are one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[tuple[str, list[Instruction]]] = []
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append((rest.partition(" AS ")[2], []))
        elif found:
            found[-1][1].append(Instruction(word, rest.strip()))
    return [Stage(name, tuple(instructions)) for name, instructions in found]


def context(ignored: str) -> Iterator[str]:
    """What of the root the build is given, by the names that .dockerignore lets in again."""
    lines = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything is left out but what is named"
    yield from (line[1:] for line in lines if line.startswith("!"))


def build(stage: Stage, folder: Path) -> Path:
    """Runs a stage's own steps within a folder: where the gateway with its packages lies then.

    Its /opt/gateway is a folder here, `python` is the one that runs this; every word of its commands is else as it is.
    """
    work, home = folder / "build", folder / "gateway"
    work.mkdir()
    tools = folder / "tools"
    subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
    path = f"{tools / 'bin'}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL", "UV_"))}
    for word, rest in stage.instructions:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, work / target)
        elif word == "RUN":
            command = rest.replace(HOME_OF_THE_GATEWAY, str(home))
            environment = {**kept, **stage.environment, "PATH": path}
            done = subprocess.run(
                ["/bin/sh", "-c", command], cwd=work, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return home


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.env"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)
