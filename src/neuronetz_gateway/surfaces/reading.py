"""Turning a parsed body into a Call, the same for every endpoint, by a few values."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from neuronetz_gateway.domain.model_facts import CONTEXT_STEP, ModelFacts
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.errors import InvalidRequestError, RequestBeyondPolicyError
from neuronetz_gateway.surfaces.fields import Fields
from neuronetz_gateway.surfaces.loading import load_of, loads
from neuronetz_gateway.surfaces.screening import Screening
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

    subject is the field that holds what the model works on. An empty one loads or unloads the model on an endpoint that
    is loadable, which only some keys may ask for; elsewhere it is refused. batched says that the subject may be a list
    of texts, each worked on by itself, in_parts that Ollama makes a message of each part of a content in it.
    streams_by_default None means that the endpoint never streams.
    """

    fields: Fields
    subject: str
    prompt_bound: PromptBound
    output_asked: OutputAsked = no_output
    batched: bool = False
    in_parts: bool = False
    loadable: bool = False
    streams_by_default: bool | None = None
    usage_wanted: Callable[[JsonObject], bool] = never

    def __call__(self, body: JsonObject, rules: RequestRules) -> Call:
        """The call that a body is.

        Raises InvalidRequestError: a field is missing or is not what it must be; it names the field and the mend.
        """
        screening = Screening(rules.policy)
        asked, body = body, self.fields.admit(body, screening)
        body["model"] = model = named_model(body)
        facts = rules.facts(model)
        if facts.remote:
            raise InvalidRequestError("'model' is refused: it runs elsewhere, which is not served here.", field="model")
        streamed = self.streams_by_default is not None and body.get("stream", self.streams_by_default)
        if self.loadable and loads(body, self.subject):
            return load_of(
                asked,
                model,
                self.subject,
                streamed=streamed,
                policed=self.fields.rules,
                most_seconds=rules.policy.load_seconds,
            )
        self._check_subject(body, rules)
        return Call(
            model=model,
            streamed=streamed,
            prompt_bound_tokens=self.prompt_bound(body, rules, _with_room(facts, body)),
            output_asked_tokens=self.output_asked(body),
            body=body,
            usage_wanted=streamed and self.usage_wanted(body),
            adjusted=tuple(screening.adjusted),
        )

    def _check_subject(self, body: JsonObject, rules: RequestRules) -> None:
        name, subject = self.subject, body.get(self.subject)
        if not subject or (self.in_parts and _without_content(subject)):
            raise InvalidRequestError(f"'{name}' is missing or empty: there is nothing to work on.", field=name)
        if self.batched and type(subject) is list and len(subject) > (most := rules.policy.max_embedding_inputs):
            raise RequestBeyondPolicyError(f"'{name}' holds more than {most} texts; send fewer.", field=name)


def _without_content(subject: list[JsonObject]) -> bool:
    """Whether no message has a part: Ollama would be left without any message, by which it loads the model.

    Most lists are decided by their first message.
    """
    return all(message.get("content") == [] for message in subject)


def named_model(body: JsonObject, field: str = "model") -> str:
    """The canonical name in a field of a body; raises InvalidRequestError where there is none that may be used."""
    name = body.get(field)
    if type(name) is not str:
        raise InvalidRequestError(f"'{field}' is missing: name the model to use.", field=field)
    try:
        return canonical(name)
    except ModelNameError as error:
        raise InvalidRequestError(f"'{field}' is refused: {error}.", field=field) from None


def _with_room(facts: ModelFacts, body: JsonObject) -> ModelFacts:
    """What is known of the model, where the request itself chooses how much it holds."""
    num_ctx = body.get("options", {}).get("num_ctx")
    if num_ctx is None or facts.context_tokens is None:
        return facts
    return replace(facts, context_tokens=max(facts.context_tokens, num_ctx + CONTEXT_STEP))


def check_granted(granted: int) -> None:
    """Stops a cap that Ollama would read as no cap at all (OLLAMA §4.5: 0 is dropped, less is endless).

    Raises ValueError: the cap is not positive, which is a defect of the gateway.
    """
    if granted < 1:
        raise ValueError(f"an output cap of {granted} would not bind the model server")
