"""What the installed models add to each prompt, kept up to date behind everybody's back."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.domain.model_name import ModelNameError, canonical
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.shown_facts import facts_in, joined
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.probing import listed_models, shown_model

MODELS_AT_MOST = 1000
_AT_ONCE = 2
_RETRY_SECONDS = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Installed:
    """One entry of the model server's list; its mark changes whenever the model does. A remote one runs elsewhere."""

    name: str
    model: str
    mark: tuple[str, str]
    remote: bool


class ModelKnowledge:
    """Asks the model server every `refresh_seconds` for its list, then for each model that is new or has changed.

    This is the gateway's own question: no request causes one, nor can it choose which. Until a model is known, which
    it is not while the model server is away, facts_of gives None; a change of a model is known a refresh later.
    `happened` counts model_facts_failed, once a refresh. A refresh_seconds of 0 asks for nothing.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        refresh_seconds: float,
        template_tokens: int,
        happened: Callable[[str], None],
    ) -> None:
        """template_tokens is the least that the template of any model counts."""
        self._upstream = upstream
        self._refresh_seconds = refresh_seconds
        self._template_tokens = template_tokens
        self._happened = happened
        self._known: dict[str, tuple[Installed, ModelFacts]] = {}  # by the name as it is listed
        self._facts: dict[str, ModelFacts] = {}  # by the canonical name; replaced whole, so that any thread may look
        self._failure = ""
        self._task: asyncio.Task[None] | None = None

    def facts_of(self, model: str) -> ModelFacts | None:
        """What is known of a model, by its canonical name; never waits, from any thread."""
        return self._facts.get(model)

    async def start(self) -> None:
        """Begins to ask, without waiting for an answer."""
        if self._refresh_seconds > 0:
            self._task = asyncio.get_running_loop().create_task(self._go_on(), name="model-knowledge")

    async def aclose(self) -> None:
        """Stops asking; what is known stays. Does nothing if it was never started."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def refresh(self) -> bool:
        """Asks once; whether the model server listed its models. What could not be asked is left for the next time."""
        try:
            installed = {each.name: each for each in _installed(await listed_models(self._upstream))}
        except GatewayError as error:
            self._note(_cause(error))
            return False
        self._known = {name: known for name, known in self._known.items() if known[0] == installed.get(name)}
        elsewhere = ModelFacts(self._template_tokens, remote=True)
        self._known |= {name: (each, elsewhere) for name, each in installed.items() if each.remote}
        self._publish()
        unknown = iter([each for name, each in installed.items() if name not in self._known])
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask_each(unknown)) for _ in range(_AT_ONCE)]
        self._note(next((task.result() for task in asking if task.result()), ""))
        return True

    async def _go_on(self) -> None:
        while True:
            listed = False
            try:
                listed = await self.refresh()
            except Exception:  # noqa: BLE001 - with the task over, nothing would ever be known again
                self._happened("model_facts_failed")
                _log.exception("model_facts_failed")
            await asyncio.sleep(self._refresh_seconds if listed else min(_RETRY_SECONDS, self._refresh_seconds))

    async def _ask_each(self, unknown: Iterator[Installed]) -> str:
        """Asks for one after another of what several take from; the name of a failure, if there was one."""
        failure = ""
        for each in unknown:
            try:
                shown = await shown_model(self._upstream, each.name)
                facts = facts_in(shown, least_template_tokens=self._template_tokens)
            except GatewayError as error:
                failure = _cause(error)
                continue
            self._known[each.name] = each, facts
            self._publish()
        return failure

    def _publish(self) -> None:
        facts: dict[str, ModelFacts] = {}
        for installed, known in self._known.values():
            other = facts.get(installed.model)
            facts[installed.model] = known if other is None else joined(known, other)
        self._facts = facts

    def _note(self, failure: str) -> None:
        """Each failure is counted, only a change is logged."""
        if failure:
            self._happened("model_facts_failed")
        if failure == self._failure:
            return
        self._failure = failure
        if failure:
            _log.warning("model_facts_failed", error=failure)
        else:
            _log.info("model_facts_known", models=len(self._facts))


def _installed(entries: Iterable[Any]) -> Iterator[Installed]:
    """The models of a list, as many as may be asked for."""
    for entry, _ in zip(entries, range(MODELS_AT_MOST), strict=False):
        if type(entry) is not dict:
            continue
        name = entry.get("name")
        try:
            model = canonical(name) if type(name) is str else ""
        except ModelNameError:
            continue
        if model:
            mark = str(entry.get("digest")), str(entry.get("modified_at"))
            remote = bool(entry.get("remote_host") or entry.get("remote_model"))
            yield Installed(str(name), model, mark, remote)


def _cause(error: GatewayError) -> str:
    return type(error.__cause__ or error).__name__
