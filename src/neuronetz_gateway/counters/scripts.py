"""The Lua scripts of the counters, named by their digest."""

import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script; sha is how EVALSHA names it. Its last argument is the run id of the server that it is sent to."""

    body: bytes
    sha: str

    @classmethod
    def load(cls, *names: str) -> "Script":
        """The script in the files `names` beside this module, one after another."""
        body = b"".join(resources.files(__package__).joinpath(name).read_bytes() for name in names)
        return cls(body, hashlib.sha1(body, usedforsecurity=False).hexdigest())


ADMIT = Script.load("warm.lua", "rates.lua", "admit.lua")
BEGIN_REBUILD = Script.load("warm.lua", "begin_rebuild.lua")
CLOSE = Script.load("warm.lua", "close.lua")
HEARTBEAT = Script.load("warm.lua", "heartbeat.lua")
LOOK = Script.load("warm.lua", "rates.lua", "look.lua")
REBUILD = Script.load("warm.lua", "rates.lua", "rebuild.lua")
SCRIPTS = (ADMIT, BEGIN_REBUILD, CLOSE, HEARTBEAT, LOOK, REBUILD)
