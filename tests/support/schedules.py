"""Random schedules of faults, the same for the same seed, readable in a failing test's output."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support.fault_proxy import Direction, FaultProxy, redis_commands

type Apply = Callable[[FaultProxy], None]
type Fault = tuple[str, Apply]
type Draw = Callable[[random.Random], Fault]

SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 3.0
SHORTEST_PEACE_SECONDS, LONGEST_PEACE_SECONDS = 0.1, 1.5
REDIS_ERRORS = (
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"+OK\r\n",
    b"garbage\r\n",
)
HTTP_ANSWERS = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nwrong",
    b"garbage\r\n\r\n",
)


def _refuse(dice: random.Random) -> Fault:
    keep = dice.random() < 0.3
    return f"refuse(keep_running={keep})", lambda proxy: proxy.refuse(keep_running=keep)


def _hang(dice: random.Random) -> Fault:
    keep = dice.random() < 0.5
    return f"hang(keep={keep})", lambda proxy: proxy.hang(keep=keep)


def _half_open(dice: random.Random) -> Fault:
    silent, keep = dice.choice(list(Direction)), dice.random() < 0.5
    return f"half_open({silent}, keep={keep})", lambda proxy: proxy.half_open(silent, keep=keep)


def _latency(dice: random.Random) -> Fault:
    seconds, jitter = round(dice.choice((0.01, 0.1, 0.4)), 2), round(dice.random() * 0.3, 2)
    return f"latency({seconds}, {jitter})", lambda proxy: proxy.latency(seconds, jitter)


def _bandwidth(dice: random.Random) -> Fault:
    rate = dice.choice((500, 5_000, 50_000))
    return f"bandwidth({rate})", lambda proxy: proxy.bandwidth(rate)


def _limit(dice: random.Random) -> Fault:
    size, direction, resets = dice.randrange(1, 3_000), dice.choice(list(Direction)), dice.random() < 0.5
    words = f"limit({size}, {direction}, resets={resets})"
    return words, lambda proxy: proxy.limit(size, direction, resets=resets)


def _reset(_: random.Random) -> Fault:
    return "reset()", FaultProxy.reset


def _cut(_: random.Random) -> Fault:
    return "cut()", FaultProxy.cut


def _redis_error(dice: random.Random) -> Fault:
    reply = dice.choice(REDIS_ERRORS)
    return f"answer({reply!r})", lambda proxy: proxy.answer(reply, redis_commands)


def _http_answer(dice: random.Random) -> Fault:
    reply = dice.choice(HTTP_ANSWERS)
    return f"answer({reply!r})", lambda proxy: proxy.answer(reply)


COMMON: tuple[Draw, ...] = (_refuse, _hang, _half_open, _latency, _bandwidth, _limit, _reset, _cut)
FAULTS: Mapping[str, tuple[Draw, ...]] = {
    "redis": (*COMMON, _redis_error, _redis_error),
    "postgres": COMMON,
    "ollama": (*COMMON, _http_answer),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of one dependency, on from `at_seconds` for `lasts_seconds`."""

    at_seconds: float
    lasts_seconds: float
    where: str
    words: str
    apply: Apply

    def __str__(self) -> str:
        until = self.at_seconds + self.lasts_seconds
        return f"{self.at_seconds:6.2f} s to {until:6.2f} s  {self.where:<8} {self.words}"


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    lasts_seconds: float
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join((f"seed {self.seed}, {self.lasts_seconds} s", *map(str, self.steps)))

    async def play(self, proxies: Mapping[str, FaultProxy]) -> None:
        """Returns when its time is over, with every proxy healed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(self.lasts_seconds))
                for step in self.steps:
                    group.create_task(_play(step, proxies[step.where]))
        finally:
            for proxy in proxies.values():
                proxy.heal()


def random_schedule(seed: int, lasts_seconds: float, faults: Mapping[str, tuple[Draw, ...]] = FAULTS) -> Schedule:
    """Each dependency has its own faults one after another, so that mostly as many hold at once as there are."""
    steps = []
    for where, draws in faults.items():
        dice = random.Random(f"{seed} {where}")
        at = dice.uniform(SHORTEST_PEACE_SECONDS, LONGEST_PEACE_SECONDS)
        while at < lasts_seconds - SHORTEST_SECONDS:
            lasts = min(dice.uniform(SHORTEST_SECONDS, LONGEST_SECONDS), lasts_seconds - at)
            words, apply = dice.choice(draws)(dice)
            steps.append(Step(round(at, 3), round(lasts, 3), where, words, apply))
            at += lasts + dice.uniform(SHORTEST_PEACE_SECONDS, LONGEST_PEACE_SECONDS)
    return Schedule(seed, lasts_seconds, tuple(sorted(steps, key=lambda step: step.at_seconds)))


async def _play(step: Step, proxy: FaultProxy) -> None:
    await asyncio.sleep(step.at_seconds)
    step.apply(proxy)
    await asyncio.sleep(step.lasts_seconds)
    proxy.heal()
