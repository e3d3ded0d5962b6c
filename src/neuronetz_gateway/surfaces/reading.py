"""Turning a parsed body into a Call, the same for every endpoint, by a few values."""

from collections.abc import Callable
from dataclasses import dataclass

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.fields import Fields
from neuronetz_gateway.surfaces.surface import Call, JsonObject, RequestRules

type OutputAsked = Callable[[JsonObject], int | None]
type PromptBound = Callable[[JsonObject, RequestRules, ModelFacts], int]


def no_output(_: JsonObject) -> int | None:
    """Embeddings have none."""
    return 0


def never(_: JsonObject) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Reader:
    """How the bodies of one endpoint are read.

    subject is the field that holds what the model works on: an empty one would load or unload the model, which is
    the operator's to do; batched says that it may be a list of texts, each worked on by itself.
    streams_by_default None means that the endpoint never streams.
    """

    fields: Fields
    subject: str
    prompt_bound: PromptBound
    output_asked: OutputAsked = no_output
    batched: bool = False
    streams_by_default: bool | None = None
    usage_wanted: Callable[[JsonObject], bool] = never

    def __call__(self, body: JsonObject, rules: RequestRules) -> Call:
        """The call that a body is.

        Raises InvalidRequestError: a field is missing or is not what it must be; it names the field and the mend.
        """
        adjusted: list[str] = []
        body = self.fields.admit(body, adjusted)
        body["model"] = model = _model(body)
        self._check_subject(body, rules)
        streamed = self.streams_by_default is not None and body.get("stream", self.streams_by_default)
        return Call(
            model=model,
            streamed=streamed,
            prompt_bound_tokens=self.prompt_bound(body, rules, rules.facts(model)),
            output_asked_tokens=self.output_asked(body),
            body=body,
            usage_wanted=streamed and self.usage_wanted(body),
            adjusted=tuple(adjusted),
        )

    def _check_subject(self, body: JsonObject, rules: RequestRules) -> None:
        name, subject = self.subject, body.get(self.subject)
        if not subject:
            raise InvalidRequestError(f"'{name}' is missing or empty: there is nothing to work on.", field=name)
        if self.batched and type(subject) is list and len(subject) > rules.max_inputs:
            raise InvalidRequestError(f"'{name}' holds more than {rules.max_inputs} texts; send fewer.", field=name)


def _model(body: JsonObject) -> str:
    name = body.get("model")
    if type(name) is not str:
        raise InvalidRequestError("'model' is missing: name the model to use.", field="model")
    try:
        return canonical(name)
    except ModelNameError as error:
        raise InvalidRequestError(f"'model' is refused: {error}.", field="model") from None


def check_granted(granted: int) -> None:
    """Stops a cap that Ollama would read as no cap at all (OLLAMA §4.5: 0 is dropped, less is endless).

    Raises ValueError: the cap is not positive, which is a defect of the gateway.
    """
    if granted < 1:
        raise ValueError(f"an output cap of {granted} would not bind the model server")
