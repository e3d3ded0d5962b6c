"""Checks this machine: the files of secrets, the limits of a process, the room on its disk, whom it believes."""

import os
import resource
import shutil
from pathlib import Path

from neuronetz_gateway.domain.checkup import CheckResult, broken, doubtful, fine
from neuronetz_gateway.services.checkpoint_sinks import STDOUT
from neuronetz_gateway.settings import Environment, Settings, open_secrets

_FILES_BESIDE_CONNECTIONS = 256
_LITTLE_BYTES = 1024**3
_MIB = 1024**2
_WIDEST_PREFIX = {4: 8, 6: 16}  # of a network whose every member may say who the caller is


def check_settings(settings: Settings) -> list[CheckResult]:
    """What a gateway would start with all the same, but had better not."""
    if settings.environment is not Environment.PRODUCTION:
        return [
            doubtful(
                "settings",
                f"readable; ENVIRONMENT is {settings.environment.value}: weak secrets are let pass",
                "leave ENVIRONMENT out where others can reach the gateway",
            )
        ]
    return [fine("settings", "readable, consistent, hard enough for production")]


def check_files(env_file: Path | None) -> list[CheckResult]:
    """Raises OSError for a file that is not there."""
    found = open_secrets(env_file)
    if not found:
        return [fine("secret files", "none is open to everybody")]
    return [
        broken("secret files", f"{name} lies in {path}, which everybody may read", f"run: chmod o-rwx {path}")
        for name, path in found
    ]


def check_proxies(settings: Settings) -> list[CheckResult]:
    """Whoever is believed about the caller's address can pass for any other caller."""
    networks = settings.proxy_networks
    if not networks:
        return [fine("trusted proxies", "none: the address of the connection is the caller's")]
    wide = [str(each) for each in networks if each.prefixlen < _WIDEST_PREFIX[each.version]]
    if wide:
        return [
            broken(
                "trusted proxies",
                f"TRUSTED_PROXIES has {', '.join(wide)}: anybody may say where they come from",
                "name the proxy's own address",
            )
        ]
    return [fine("trusted proxies", ", ".join(str(each) for each in networks))]


def check_open_files(settings: Settings) -> list[CheckResult]:
    """Each caller costs a file, each request under way one more; on start the hard limit is taken."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + settings.upstream_max_in_flight + _FILES_BESIDE_CONNECTIONS
    if most == resource.RLIM_INFINITY or most >= wanted:
        return [fine("open files", f"up to {'any number' if most == resource.RLIM_INFINITY else f'{most:,}'}")]
    return [
        doubtful(
            "open files",
            f"up to {most:,}; MAX_CONNECTIONS={settings.max_connections} may want {wanted:,}",
            f"ulimit -Hn {wanted} (LimitNOFILE= in systemd), or a lower MAX_CONNECTIONS",
        )
    ]


def check_disk(settings: Settings) -> list[CheckResult]:
    """Room where checkpoints are kept beside the database; raises OSError."""
    sink = settings.audit_checkpoint_sink
    if sink in {"", STDOUT}:
        return []
    folder = Path(sink).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return [broken("checkpoint file", f"{folder} is no folder that can be written", f"run: mkdir -p {folder}")]
    free = shutil.disk_usage(folder).free
    words = f"{free // _MIB:,} MiB are free at {folder}"
    if free < _LITTLE_BYTES:
        return [doubtful("checkpoint file", words, "make room, or name another file in AUDIT_CHECKPOINT_SINK")]
    return [fine("checkpoint file", words)]
