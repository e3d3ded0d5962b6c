"""The SDKs for JavaScript: fetched once, then run as programs that are told what to do line by line."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.conformance_page import JAVASCRIPT, javascript_packages

FETCH_SECONDS = 90
ANSWER_SECONDS = 20
END_SECONDS = 10
_LINE_BYTES = 1024 * 1024

# No lock file: the versions are pinned in package.json, and what they need in turn is not what is tested.
_INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")


class NotThereError(Exception):
    """This machine cannot run the SDKs; the message says why."""


class JavaScriptError(Exception):
    """What a scenario raised, as its caller sees it."""

    def __init__(self, name: str, message: str, status: int | None, code: str | None, request_id: str | None) -> None:
        super().__init__(message)
        self.name, self.message, self.status, self.code, self.request_id = name, message, status, code, request_id


def fetched() -> Path:
    """The folder of the programs, with the pinned packages in it.

    Raises:
        NotThereError: there is no Node, or the packages cannot be had.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotThereError("Node is missing.")
    if _found() == javascript_packages():
        return JAVASCRIPT
    try:
        subprocess.run([npm, *_INSTALL], cwd=JAVASCRIPT, check=True, capture_output=True, timeout=FETCH_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotThereError("The packages for JavaScript could not be fetched.") from error
    return JAVASCRIPT


def _found() -> dict[str, str]:
    found = {}
    for name in javascript_packages():
        manifest = JAVASCRIPT / "node_modules" / name / "package.json"
        if manifest.exists():
            found[name] = str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
    return found


@dataclass(frozen=True, slots=True)
class Program:
    """One SDK, running."""

    process: asyncio.subprocess.Process
    base_url: str

    async def run(self, scenario: str, key: str, **ask: Any) -> Any:
        """What a scenario saw.

        Raises:
            JavaScriptError: what it raised instead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = {"scenario": scenario, "base_url": self.base_url, "key": key, **ask}
        self.process.stdin.write(json.dumps(told).encode() + b"\n")
        line = await asyncio.wait_for(self.process.stdout.readline(), ANSWER_SECONDS)
        assert line, "The program has ended; what it said stands on stderr."
        result = json.loads(line)
        if "raised" in result:
            raise JavaScriptError(**result["raised"])
        return result["saw"]


@asynccontextmanager
async def program(path: Path, base_url: str) -> AsyncIterator[Program]:
    """One of the programs of tests/conformance/javascript, ended by the end of its input."""
    process = await asyncio.create_subprocess_exec(
        "node", str(path), env={"PATH": os.environ["PATH"]}, limit=_LINE_BYTES,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Program(process, base_url)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
