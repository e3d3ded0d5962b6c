"""What a quickstart starts beneath the gateway: its stores, a model server where none is found."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from neuronetz_gateway.embedded.child import EmbeddedError
from neuronetz_gateway.embedded.demo_model import DemoModel
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.upstream.probing import answers, probe

DEFAULT_OLLAMA = "http://127.0.0.1:11434"
_PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the stores are reached, as the settings name it."""

    database_url: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class ModelServer:
    """The upstream of a quickstart: its address, its name for machines, a sentence for people."""

    base_url: str
    name: str
    sentence: str


@contextmanager
def embedded_stores(data_dir: Path) -> Iterator[Stack]:
    """Postgres with Valkey as children of this process, stopped in reverse order; raises EmbeddedError."""
    with ExitStack() as running:
        postgres = EmbeddedPostgres(data_dir)
        postgres.start()
        running.callback(postgres.stop)
        valkey = EmbeddedValkey(data_dir)
        valkey.start()
        running.callback(valkey.stop)
        yield Stack(postgres.url, valkey.url)


@contextmanager
def model_server(choice: str, data_dir: Path) -> Iterator[ModelServer]:
    """The upstream that --upstream names: auto, demo, or an address; raises EmbeddedError, UpstreamUnreachableError."""
    if choice not in {"auto", "demo"}:
        yield _at(choice)
        return
    ollama = os.environ.get("OLLAMA_BASE_URL") or DEFAULT_OLLAMA
    if choice == "auto" and _reached(ollama):
        yield ModelServer(ollama, ollama, f"Found Ollama at {ollama}.")
        return
    reason = f"No Ollama answers at {ollama}, so the" if choice == "auto" else "The"
    demo = DemoModel(data_dir)
    try:
        demo.start()
    except EmbeddedError as error:
        if choice == "demo":
            raise
        raise EmbeddedError(f"no Ollama answers at {ollama}, nor can the demo model stand in: {error}") from error
    try:
        yield ModelServer(demo.url, "demo", f"{reason} demo model answers: small, real, run by llama.cpp, often wrong.")
    finally:
        demo.stop()


def _at(address: str) -> ModelServer:
    if not address.startswith(("http://", "https://")):
        raise InvalidRequestError("--upstream takes auto, demo or an address such as http://127.0.0.1:11434.")
    if _reached(address):
        return ModelServer(address, address, f"Found the model server at {address}.")
    return ModelServer(
        address, address, f"Nothing answers at {address} yet; requests to models are refused with 503 until it does."
    )


def _reached(address: str) -> bool:
    return asyncio.run(_answers(address))


async def _answers(address: str) -> bool:
    async with probe(address, timeout_seconds=_PROBE_SECONDS) as upstream:
        return await answers(upstream)
