"""Finding the model that the end of a path names."""

from urllib.parse import unquote_to_bytes

from neuronetz_gateway.domain.model_name import ModelNameError, canonical


def model_in(raw_path: bytes, prefix: bytes) -> str | None:
    """The canonical name of the model after the prefix of a path as it came over the wire; None where there is none.

    Decoded once, as Ollama does it (OLLAMA §2), since SDKs write the slashes of a name as %2F. The text itself is never
    sent on: it is looked up in a list.
    """
    if not raw_path.startswith(prefix):
        return None
    try:
        return canonical(unquote_to_bytes(raw_path[len(prefix) :]).decode("ascii"))
    except (ModelNameError, UnicodeDecodeError):
        return None
