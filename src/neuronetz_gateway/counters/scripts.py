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
    def load(cls, *names: str) -> "Script":
        """The script in the files `names` beside this module, one after another."""
        body = b"".join(resources.files(__package__).joinpath(name).read_bytes() for name in names)
        return cls(body, hashlib.sha1(body, usedforsecurity=False).hexdigest())


ADMIT = Script.load("rates.lua", "admit.lua")
CLOSE = Script.load("close.lua")
HEARTBEAT = Script.load("heartbeat.lua")
LOOK = Script.load("rates.lua", "look.lua")
SCRIPTS = (ADMIT, CLOSE, HEARTBEAT, LOOK)
