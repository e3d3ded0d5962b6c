"""What a request may ask of the model server besides its answer."""

from dataclasses import dataclass, fields

LOGPROBS_AT_MOST = 20  # Ollama's own bound; each makes the stream that much larger (OLLAMA §4.5)


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What a key may ask for beyond or below what the settings say; None is as they say."""

    max_keep_alive_seconds: int | None = None
    max_num_ctx: int | None = None
    max_images: int | None = None
    max_embedding_inputs: int | None = None
    max_logprobs: int | None = None
    allow_raw: bool | None = None
    allow_context: bool | None = None


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """What holds for one request (OLLAMA §4.5 has the reasons).

    0 for max_keep_alive_seconds or max_num_ctx leaves the field out: the model server keeps its own. max_images and
    max_embedding_inputs bound one request, each input being worked on at the same time. max_logprobs 0 gives none.
    allow_raw lets a prompt pass by the template with its system prompt, allow_context takes the tokens of an earlier
    answer back.
    """

    max_keep_alive_seconds: int = 0
    max_num_ctx: int = 0
    max_images: int = 64
    max_embedding_inputs: int = 2048
    max_logprobs: int = LOGPROBS_AT_MOST
    allow_raw: bool = False
    allow_context: bool = True

    @property
    def load_seconds(self) -> int | None:
        """How long a request that loads a model may have it kept; None is as long as it likes.

        The settings' 0 is for requests with work in them: whom the operator lets load models chooses how long.
        """
        return self.max_keep_alive_seconds or None

    def changed_by(self, own: KeyPolicy) -> "RequestPolicy":
        """The policy with what a key has of its own."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changes = {field.name: getattr(own, field.name) for field in fields(own)}
        kind = RequestPolicy if own.max_keep_alive_seconds is None else _WithAKeepAliveOfItsOwn
        return kind(**values | {name: value for name, value in changes.items() if value is not None})


class _WithAKeepAliveOfItsOwn(RequestPolicy):
    """Where the key itself says how long: its 0 is none at all, for a load as well."""

    __slots__ = ()

    @property
    def load_seconds(self) -> int | None:
        return self.max_keep_alive_seconds
