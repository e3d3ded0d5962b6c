#!/usr/bin/env python3
"""Writes what the lock file holds as a CycloneDX bill of materials: name, version, hashes, who wants whom."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>.*?))? *\\?$")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(lock: str) -> dict[str, dict[str, Any]]:
    """By name: version, marker, hashes, and the packages that want it."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in lock.splitlines():
        pinned = PINNED.match(line)
        if pinned:
            current = {"version": pinned["version"], "marker": pinned["marker"], "hashes": [], "wanted_by": []}
            found[normal(pinned["name"])] = current
        elif digest := HASH.search(line):
            current["hashes"].append(digest[1])
        elif line.lstrip().startswith("#"):
            wanting = line.lstrip(" #").removeprefix("via").strip()
            current["wanted_by"] += [normal(wanting)] if wanting else []
        elif line.strip():
            raise SystemExit(f"requirements.lock has a line that is no pinned package: {line}")
    return found


def reached(found: dict[str, dict[str, Any]], roots: set[str]) -> set[str]:
    """These packages with all that they want."""
    seen: set[str] = set()
    waiting = roots & found.keys()
    while waiting:
        seen |= waiting
        waiting = {name for name, each in found.items() if seen & set(each["wanted_by"])} - seen
    return seen


def component(name: str, each: dict[str, Any], scope: str) -> dict[str, Any]:
    marked = [{"name": "marker", "value": each["marker"]}] if each["marker"] else []
    return {
        "type": "library",
        "bom-ref": f"{name}@{each['version']}",
        "name": name,
        "version": each["version"],
        "scope": scope,
        "purl": f"pkg:pypi/{name}@{each['version']}",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in each["hashes"]],
        **({"properties": marked} if marked else {}),
    }


def bill(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """The document; the same lock gives the same one, to the byte.

    What the gateway needs is `required`, what its extras add `optional`, what only builds or tests it `excluded`.
    """
    found = packages(lock)
    own = f"{project['name']}@{project['version']}"
    needed = {normal(NAME.match(each)[0]) for each in project["dependencies"]}  # type: ignore[index]  # each has a name
    extras = project.get("optional-dependencies", {}).values()
    added = {normal(NAME.match(each)[0]) for extra in extras for each in extra}  # type: ignore[index]  # the same
    required, optional = reached(found, needed), reached(found, added)
    scopes = {
        name: "required" if name in required else "optional" if name in optional else "excluded" for name in found
    }
    references = {name: f"{name}@{each['version']}" for name, each in found.items()}
    wants = {name: sorted(references[other] for other in found if name in found[other]["wanted_by"]) for name in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [component(name, found[name], scopes[name]) for name in sorted(found)],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(references[name] for name in (needed | added) & found.keys())},
            *({"ref": references[name], "dependsOn": wants[name]} for name in sorted(found)),
        ],
    }


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    document = bill((ROOT / "requirements.lock").read_text(encoding="utf-8"), project)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "sbom.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    scopes = [each["scope"] for each in document["components"]]
    counted = ", ".join(f"{scopes.count(scope)} {scope}" for scope in ("required", "optional", "excluded"))
    sys.stdout.write(f"{path}: {len(scopes)} packages ({counted})\n")


if __name__ == "__main__":
    main()
