"""Numbered callers who keep on calling while gateways die, with what each of them saw."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.load import Gateway
from tests.support.mixed_load import FATES, FORBIDDEN, UNKNOWN
from tests.support.valid_bodies import GENERATING, INFERRING, saying

# Nobody lies about usage here or generates past the cap: what was delivered can be held against what was charged.
HONEST = tuple(name for name in FATES if name not in {"less-usage", "overruns"})
HEALTHY = ("ok", "slow", "waits")
LONG = "long"  # whoever leaves asks for this one, so as not to be too late
FAULT_FATES = {**{name: FATES[name] for name in HONEST}, LONG: Script(tokens=40, gap_seconds=0.01)}
ASKED_TOKENS = 40
PATIENCE_SECONDS = 60.0
_LEAVES_WITHIN_SECONDS = 0.15
_ELSEWHERE = 0.02  # how often a caller goes to another gateway without need, so that a new process is found
_RETRY_SECONDS = 0.02
# Whoever is refused comes back a moment later, or callers would be busy with nothing but refusals.
_REFUSED = {429, 503}
_COMES_BACK_SECONDS = 0.03


class End(StrEnum):
    WHOLE = "whole"  # the answer ended as HTTP wants it, whatever its status
    BROKEN = "broken"
    LEFT = "left"  # by its own will
    SILENT = "silent"  # nothing came to an end within PATIENCE_SECONDS


@dataclass(slots=True)
class Told:
    """What the caller of one request saw; times by time.monotonic."""

    number: int
    member: int = -1  # the gateway that took it
    model: str = ""
    stream: bool = False
    sent_at: float = 0.0
    ended_at: float = 0.0
    status: int | None = None
    ended: End | None = None


@dataclass(slots=True)
class FaultLoad:
    """So many requests, `lanes` at once, `leavers` of them left at a random moment; each number is sent once.

    A connection that is refused has sent nothing, so its number goes to the next gateway; a broken one has its fate.
    """

    gateways: Sequence[Gateway]
    keys: Sequence[str]
    seed: int
    count: int
    leavers: int = 0
    lanes: int = 24
    models: Sequence[str] = HONEST
    told: list[Told] = field(default_factory=list)
    refused_connections: int = 0
    stopped: bool = False
    _reached: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    async def run(self) -> list[Told]:
        """Send them all, or as many as there is time for until `stopped`."""
        dice = random.Random(self.seed)
        leaving = set(dice.sample(range(self.count), self.leavers))
        numbers = iter(range(self.count))
        async with AsyncExitStack() as closing:
            lanes = [
                [
                    await closing.enter_async_context(gateway.http(key, transport=OllamaTransport()))
                    for gateway in self.gateways
                ]
                for key in (self.keys[lane % len(self.keys)] for lane in range(self.lanes))
            ]
            async with asyncio.TaskGroup() as group:
                for lane, clients in enumerate(lanes):
                    group.create_task(self._lane(lane, clients, numbers, leaving))
        return self.told

    async def reached(self, count: int) -> None:
        """Return once so many requests have been sent."""
        event = asyncio.Event()
        self._reached.append((count, event))
        self._wake()
        await event.wait()

    @property
    def statuses(self) -> Counter[int | None]:
        return Counter(told.status for told in self.told)

    @property
    def ends(self) -> Counter[End | None]:
        return Counter(told.ended for told in self.told)

    async def _lane(
        self, lane: int, clients: Sequence[httpx.AsyncClient], numbers: Iterator[int], leaving: set[int]
    ) -> None:
        dice = random.Random(f"{self.seed} {lane}")
        member = lane % len(clients)
        for number in numbers:
            if self.stopped:
                return
            told = Told(number)
            self.told.append(told)
            self._wake()
            if dice.random() < _ELSEWHERE:
                member = dice.randrange(len(clients))
            member = await self._until_taken(dice, clients, member, told, leaves=number in leaving)
            if told.ended is End.BROKEN:
                member = (member + 1) % len(clients)
            if told.status in _REFUSED:
                await asyncio.sleep(_COMES_BACK_SECONDS)

    async def _until_taken(
        self, dice: random.Random, clients: Sequence[httpx.AsyncClient], member: int, told: Told, *, leaves: bool
    ) -> int:
        request = _Request(dice, told, self.models, leaves=leaves)
        while True:
            told.member, told.sent_at = member, time.monotonic()
            try:
                await request.send(clients[member])
            except httpx.ConnectError:
                self.refused_connections += 1
                member = (member + 1) % len(clients)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                told.ended_at = time.monotonic()
                return member

    def _wake(self) -> None:
        for count, event in self._reached:
            if len(self.told) >= count:
                event.set()


class _Request:
    """What one caller says, how patient it is."""

    def __init__(self, dice: random.Random, told: Told, models: Sequence[str], *, leaves: bool) -> None:
        endpoint = dice.choice(GENERATING if leaves else INFERRING)
        unusual = dice.random()
        told.model = LONG if leaves else dice.choice(models)
        if not leaves and unusual < 0.02:
            told.model = UNKNOWN if unusual < 0.01 else FORBIDDEN
        told.stream = dice.random() < 0.6
        self._told = told
        self._path = endpoint.path
        self._body = saying(endpoint, f"#{told.number}# says something", model=told.model, stream=told.stream)
        for place in ("max_tokens", "max_output_tokens", "options"):
            self._body[place] = {"num_predict": ASKED_TOKENS} if place == "options" else ASKED_TOKENS
        self._leaves = leaves
        self._patience = dice.random() * _LEAVES_WITHIN_SECONDS if leaves else PATIENCE_SECONDS

    async def send(self, http: httpx.AsyncClient) -> None:
        """Fills in what was seen. Raises httpx.ConnectError where nothing was sent."""
        told = self._told
        try:
            async with asyncio.timeout(self._patience):
                headers = {"x-request-id": f"n-{told.number}"}
                async with http.stream("POST", self._path, json=self._body, headers=headers) as answer:
                    told.status = answer.status_code
                    async for _ in answer.aiter_raw():
                        pass
            told.ended = End.WHOLE
        except httpx.ConnectError:
            raise
        except httpx.TransportError:
            told.ended = End.BROKEN
        except TimeoutError:
            told.ended = End.LEFT if self._leaves else End.SILENT


def install(ollama: FakeOllama) -> tuple[str, ...]:
    """Puts the fates into the fake; the models that callers may use."""
    ollama.models = tuple(f"{name}:latest" for name in (*FAULT_FATES, FORBIDDEN))
    for name, script in FAULT_FATES.items():
        ollama.for_model(f"{name}:latest", script)
    return (*(f"{name}:latest" for name in FAULT_FATES), f"{UNKNOWN}:latest")
