"""Target: a model's name is the one that Ollama would look up, in one spelling, or it is refused."""

from urllib.parse import quote

from fuzz.target import Target, is_fit_to_be_shown, must
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.surfaces.model_paths import model_in
from tests.support.model_spellings import elsewhere, equivalents, path_spellings
from tests.support.ollama_names import leaves_the_machine, ollama_name

_PREFIX = b"/v1/models/"


def names_one_model(name: str) -> str | None:
    """The canonical name, None where it is refused."""
    try:
        canonical_name = canonical(name)
    except ModelNameError as error:
        must(is_fit_to_be_shown(str(error)), "an error that is not fit to be shown")
        return None
    must(not leaves_the_machine(name), "taken although it leaves the machine:", name)
    meant = ollama_name(name)
    must(meant is not None and meant.shortest == canonical_name, "Ollama looks up", meant, "not", canonical_name)
    must(ollama_name(canonical_name) == meant, "what is sent is another model to Ollama")
    must(canonical(canonical_name) == canonical_name, "not its own canonical name:", canonical_name)
    must(canonical_name.isascii() and canonical_name == canonical_name.lower(), "not in lower case")
    must(model_in(_PREFIX + quote(name, safe="").encode(), _PREFIX) == canonical_name, "another model in a path")
    return canonical_name


def check(data: bytes) -> None:
    names_one_model(data.decode("utf-8", "surrogateescape"))
    found = model_in(_PREFIX + data, _PREFIX)
    must(found is None or names_one_model(found) == found, "a path names what is no canonical name")


def _seeds() -> list[bytes]:
    names = [*equivalents("fakea"), *elsewhere("fakea")]
    return [name.encode("utf-8", "surrogatepass") for name in names] + [
        spelling.encode() for name in ("fakea", "a/b:c") for spelling in path_spellings(name)
    ]


WORDS = (
    b":", b"/", b"//", b"://", b"@sha256:", b"cloud", b"-cloud", b":cloud", b"local", b":local", b"library/", b"latest",
    b"registry.ollama.ai/", b"hf.co/", b"%2f", b"%3A", b"\xc2\xa0", b"\xe2\x84\xaa", b"..", b"!MISSING!", b"\x00",
)  # fmt: skip
TARGET = Target(check, _seeds, WORDS)
