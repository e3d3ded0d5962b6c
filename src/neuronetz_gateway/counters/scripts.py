"""The Lua scripts of the counters, named by their digest."""

import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script; sha is how EVALSHA names it."""

    body: bytes
    sha: str

    @classmethod
    def load(cls, name: str) -> "Script":
        """The script in the file `name` beside this module."""
        body = resources.files(__package__).joinpath(name).read_bytes()
        return cls(body, hashlib.sha1(body, usedforsecurity=False).hexdigest())


ADMIT = Script.load("admit.lua")
CLOSE = Script.load("close.lua")
HEARTBEAT = Script.load("heartbeat.lua")
SCRIPTS = (ADMIT, CLOSE, HEARTBEAT)
