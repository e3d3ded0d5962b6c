"""What Ollama makes of a model's name (types/model/name.go, server/modelref.go; OLLAMA §4.1)."""

from dataclasses import dataclass

_MISSING = "!MISSING!"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# unicode.IsSpace, which is what strings.TrimSpace takes off.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


@dataclass(frozen=True, slots=True)
class OllamaName:
    """The four parts, in lower case: Ollama finds a model in any case."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def shortest(self) -> str:
        """What is left out is what Ollama would fill in."""
        if self.host == "registry.ollama.ai":
            path = self.model if self.namespace == "library" else f"{self.namespace}/{self.model}"
        else:
            path = f"{self.host}/{self.namespace}/{self.model}"
        return f"{path}:{self.tag}"


def leaves_the_machine(name: str) -> bool:
    """Whether Ollama would send the request to its cloud: by any word behind a colon."""
    directions = [part.strip(_SPACE).lower() for part in name.strip(_SPACE).split(":")[1:]]
    return any(direction == "cloud" or direction.endswith("-cloud") for direction in directions)


def ollama_name(name: str) -> OllamaName | None:
    """The model that is looked up; None where Ollama says that the name is none."""
    text = _without_local(name.strip(_SPACE))
    tag, namespace, host = "latest", "library", "registry.ollama.ai"
    if text.rfind(":") > text.rfind("/"):
        text, tag = _cut(text, ":")
    if "/" in text:
        text, model = _cut(text, "/")
        if "/" in text:
            text, namespace = _cut(text, "/")
            host = text.partition("://")[2] if "://" in text else text
        else:
            namespace = text
    else:
        model = text
    valid = (
        _is_part(host, 350, "_-.:")
        and _is_part(namespace, 80, "_-")
        and _is_part(model, 80, "_-.")
        and _is_part(tag, 80, "_-.")
    )
    return OllamaName(host.lower(), namespace.lower(), model.lower(), tag.lower()) if valid else None


def _without_local(text: str) -> str:
    before, colon, direction = text.rpartition(":")
    return before if colon and direction.strip(_SPACE).lower() == "local" else text


def _cut(text: str, sign: str) -> tuple[str, str]:
    before, _, after = text.rpartition(sign)
    return before or _MISSING, after or _MISSING


def _is_part(text: str, most: int, signs: str) -> bool:
    inside = _LETTERS | frozenset(signs)
    return 0 < len(text) <= most and text[0] in _LETTERS and all(sign in inside for sign in text)
