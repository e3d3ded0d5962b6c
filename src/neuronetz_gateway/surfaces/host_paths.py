"""Keeping where Ollama has its files on its host out of what callers see."""

import re

# Ollama keeps everything below a folder of models: blobs/sha256-..., manifests/..., by default within ~/.ollama.
_HOST_PATH = re.compile(r"[/\\](?:blobs[/\\]+sha256|manifests[/\\]|\.ollama\b)", re.IGNORECASE)


def is_host_path(text: str) -> bool:
    """Whether a text holds a path of Ollama's own files (OLLAMA §1.1)."""
    return _HOST_PATH.search(text) is not None


def without_host_paths(text: str) -> str:
    """A text less its lines that hold such a path: where a path begins cannot be told, since it may hold blanks."""
    if not is_host_path(text):
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not is_host_path(line))
