"""What a field of a request body must be, as small rules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.screening import Screening
from neuronetz_gateway.surfaces.strict_json import shown
from neuronetz_gateway.surfaces.surface import JsonObject

type Rule = Callable[[Any, str, Screening], Any]
"""Takes a value, its path, the screening of the body; returns the value to send, DROPPED for none.

Raises InvalidRequestError, naming the path and the mend, where the value is not of its type.
"""

DROPPED: Final = object()

_GO_INT_END = 1 << 63  # an int of Go ends below it; strict_json takes what fits into 64 bits without a sign as well


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one object that the gateway reads or changes; those it does not know pass.

    folds says that Ollama decodes the object into a Go struct, which takes a name in any case and folding (OLLAMA
    §4.2): another spelling of a known name is refused there, so that both see the same field. Go takes null as
    absent, and so null is left out.
    """

    rules: Mapping[str, Rule]
    folds: bool = True

    def admit(self, body: JsonObject, screening: Screening, path: str = "") -> JsonObject:
        """What of an object may be sent; the paths of what was changed are added to the screening.

        Raises InvalidRequestError: a field is not what it must be, or is spelled in another way.
        """
        rules, admitted = self.rules, {}
        for name, value in body.items():
            rule = rules.get(name)
            if rule is None:
                if self.folds and name.casefold() in rules:
                    raise misspelled(name, path)
                admitted[name] = value
            elif value is not None:
                sent = rule(value, path + name, screening)
                if sent is not DROPPED:
                    admitted[name] = sent
        return admitted


def misspelled(name: str, path: str) -> InvalidRequestError:
    field = path + name.casefold()
    return InvalidRequestError(f"The field {shown(path + name)} must be written '{field}'.", field=field)


def wrong(path: str, mend: str) -> InvalidRequestError:
    return InvalidRequestError(f"'{path}' must be {mend}.", field=path)


def dropped(_: Any, path: str, screening: Screening) -> Any:
    screening.adjusted.append(path)
    return DROPPED


def anything(value: Any, _: str, __: Screening) -> Any:
    """For a field that the gateway reads whatever it is: known by its name, so that no other spelling of it passes."""
    return value


def unsupported(mend: str) -> Rule:
    """For what Ollama would ignore without a word, so that the caller would believe it had been heeded."""

    def rule(value: Any, path: str, _: Screening) -> Any:
        if not value:
            return value
        raise InvalidRequestError(f"'{path}' is not supported: {mend}.", field=path)

    return rule


def flag(value: Any, path: str, _: Screening) -> Any:
    if value is True or value is False:
        return value
    raise wrong(path, "true or false")


def text(value: Any, path: str, _: Screening) -> Any:
    if type(value) is str:
        return value
    raise wrong(path, "a string")


def texts(value: Any, path: str, _: Screening) -> Any:
    if type(value) is list and all(type(item) is str for item in value):
        return value
    raise wrong(path, "a list of strings")


def text_or_texts(value: Any, path: str, screening: Screening) -> Any:
    if type(value) is str:
        return value
    if type(value) is list:
        return texts(value, path, screening)
    raise wrong(path, "a string or a list of strings")


def whole(value: Any, path: str, _: Screening) -> Any:
    if type(value) is int and value < _GO_INT_END:
        return value
    raise wrong(path, "a whole number")


def positive(value: Any, path: str, _: Screening) -> Any:
    if type(value) is int and 0 < value < _GO_INT_END:
        return value
    raise wrong(path, "a whole number greater than 0")


def at_most(most: int) -> Rule:
    """A whole number that is lowered to `most` where it is greater."""

    def rule(value: Any, path: str, screening: Screening) -> Any:
        if type(value) is not int:
            raise wrong(path, "a whole number")
        if value <= most:
            return value
        screening.adjusted.append(path)
        return most

    return rule


def data_url(value: Any, path: str, _: Screening) -> Any:
    """Ollama refuses every other address, and no later one shall fetch what a caller names."""
    if type(value) is str and value.startswith("data:"):
        return value
    raise wrong(path, "a data URL: images are sent along, not fetched from an address")


def one_alone(value: Any, path: str, _: Screening) -> Any:
    """For how many answers are asked for: Ollama gives one, whatever was asked (OLLAMA §4.5)."""
    if value == 1 and type(value) is int:
        return value
    raise wrong(path, "1: each request gets one answer")


def an_object(fields: Fields) -> Rule:
    def rule(value: Any, path: str, screening: Screening) -> Any:
        if type(value) is dict:
            return fields.admit(value, screening, path + ".")
        raise wrong(path, "an object")

    return rule


@dataclass(frozen=True, slots=True)
class TextOrParts:
    """A rule for a string, which passes as it is, or a list of parts, which has a rule of its own."""

    parts: Rule

    def __call__(self, value: Any, path: str, screening: Screening) -> Any:
        if type(value) is str:
            return value
        if type(value) is list:
            return self.parts(value, path, screening)
        raise wrong(path, "a string or a list of parts")


def objects(fields: Fields) -> Rule:
    # Most messages hold nothing but texts: those pass as they are.
    texts_in_it = frozenset(
        name for name, rule in fields.rules.items() if rule is text or isinstance(rule, TextOrParts)
    )

    def rule(value: Any, path: str, screening: Screening) -> Any:
        if type(value) is not list:
            raise wrong(path, "a list of objects")
        admitted = []
        for index, item in enumerate(value):
            if type(item) is not dict:
                raise wrong(f"{path}[{index}]", "an object")
            for name, inner in item.items():
                if type(inner) is not str or name not in texts_in_it:
                    admitted.append(fields.admit(item, screening, f"{path}[{index}]."))
                    break
            else:
                admitted.append(item)
        return admitted

    return rule
