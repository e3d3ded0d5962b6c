"""The program of the demo model: llama.cpp on a private socket with Ollama's surface in front of it."""

import argparse
import asyncio
import hashlib
import secrets
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import xllamacpp

from neuronetz_gateway.embedded.demo_generation import CONTEXT_TOKENS, Generator
from neuronetz_gateway.embedded.demo_http import HEAD_LIMIT_BYTES, Connection
from neuronetz_gateway.embedded.demo_llama import LlamaServer
from neuronetz_gateway.embedded.demo_routes import DemoRoutes, ModelFile

SLOTS = 2
# One step of the engine; between two steps it notices that a caller has left.
BATCH_TOKENS = 128
HTTP_THREADS = 6
ERRORS_ONLY = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM: ``--listen-fd`` is a bound socket, ``--socket`` the path for llama.cpp's own server."""
    parser = argparse.ArgumentParser(prog="demo-model", description=__doc__)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    given = parser.parse_args(arguments)
    engine = xllamacpp.Server(parameters(given.model, given.socket))  # loads the model; must stay referenced
    with socket.socket(fileno=given.listen_fd) as listener:
        asyncio.run(serve(listener, given.socket, model_file(given.model)))
    del engine


def parameters(model: Path, socket_path: Path) -> xllamacpp.CommonParams:
    """One thread, two requests at a time, completions beside embeddings, logging errors alone."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames = [str(socket_path)]
    params.n_ctx = CONTEXT_TOKENS * SLOTS
    params.n_parallel = SLOTS
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.n_threads_http = HTTP_THREADS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_gpu_layers = 0
    params.embedding = True
    # The last token's state: of the poolings, the one for which an input may be split into steps.
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.cache_ram_mib = 0
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = ERRORS_ONLY
    return params


async def serve(listener: socket.socket, llama_socket: Path, model: ModelFile) -> None:
    """Answer on ``listener`` until SIGTERM or SIGINT."""
    routes = DemoRoutes(Generator(LlamaServer(llama_socket)), model, lambda: datetime.now(UTC), secrets.randbelow)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(routes, reader, writer).serve()

    server = await asyncio.start_server(connected, sock=listener, limit=HEAD_LIMIT_BYTES)
    await ended.wait()
    server.close()


def model_file(path: Path) -> ModelFile:
    """What there is to say about the weights in ``path``."""
    facts = path.stat()
    with path.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    return ModelFile(facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC), digest)


if __name__ == "__main__":
    main()
