"""As whom Postgres is run, since it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from neuronetz_gateway.embedded.child import OURSELVES, EmbeddedError, Identity

FALLBACK_ACCOUNTS = ("nobody", "daemon")


def unprivileged() -> Identity:
    """Ourselves; as root, a namespace in which we carry another uid; where that is forbidden, `as_nobody`."""
    if os.geteuid() != 0:
        return OURSELVES
    return in_own_namespace() or as_nobody()


def in_own_namespace() -> Identity | None:
    """Root seen as an ordinary account by a user namespace of its own: files stay root's, nothing is chowned.

    None where such namespaces are forbidden (many containers) or ``unshare`` is missing.
    """
    unshare, nothing = shutil.which("unshare"), shutil.which("true")
    if unshare is None or nothing is None:
        return None
    account = _ordinary_account()
    prefix = (unshare, "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}", "--")
    trial = subprocess.run([*prefix, nothing], capture_output=True, check=False)  # noqa: S603 - fixed words
    return Identity(prefix=prefix) if trial.returncode == 0 else None


def as_nobody() -> Identity:
    """The account nobody, to whom the data must be given by `give`."""
    for name in FALLBACK_ACCOUNTS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid > 0:  # macOS gives nobody the uid -2, which no call takes
            return Identity(uid=account.pw_uid, gid=account.pw_gid)
    raise EmbeddedError("Postgres does not run as root, and this machine has no account to run it as")


def give(path: Path, identity: Identity, *, deep: bool = True) -> None:
    """As root: make ``path`` (with all beneath it, if ``deep``) belong to whom ``identity`` is for the file system.

    Both ways, since a machine may come to allow namespaces (files are root's) or to forbid them (they are nobody's).
    """
    owner = identity.uid or 0
    if os.geteuid() != 0 or not path.exists() or path.stat().st_uid == owner:
        return
    # From below, so that the owner of the top says that all is done.
    for directory, below, files in os.walk(path, topdown=False) if deep else ():
        for name in (*below, *files):
            os.chown(Path(directory) / name, owner, identity.gid or 0, follow_symlinks=False)
    os.chown(path, owner, identity.gid or 0)


def _ordinary_account() -> pwd.struct_passwd:
    # The uid must have a name: initdb looks it up. nobody (65534) also stands for "unmapped", so it comes last.
    accounts = [account for account in pwd.getpwall() if account.pw_uid > 0]
    if not accounts:
        raise EmbeddedError("Postgres does not run as root, and this machine has no account to run it as")
    return min(accounts, key=lambda account: account.pw_uid)
