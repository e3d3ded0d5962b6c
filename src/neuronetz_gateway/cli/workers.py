"""Several processes that serve on one socket, with the one that watches over them."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue
from threading import Thread

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from neuronetz_gateway.cli.draining import DrainingServer, ServingConfig
from neuronetz_gateway.observability.metrics import forget_process

_READY_SECONDS = 30.0
_ASK_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_WATCH_SECONDS = 0.5
_END_WITHOUT_ACCEPTING = signal.SIGUSR1  # what the parent makes of SIGINT, which a terminal sends to workers as well


class WorkerProcess(Process):
    """One worker, from both sides: made and told by the parent, then run (`target`) in a process of its own."""

    config: ServingConfig

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = DrainingServer(self.config)
        return self._server

    @property
    def lives(self) -> bool:
        return self.process.is_alive()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.process.pid is not None and self.lives:
            os.kill(self.process.pid, number)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; a worker whose parent was killed drains, then ends: nobody else would stop it, or give its port up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.server.handle_exit)
        signal.signal(_END_WITHOUT_ACCEPTING, self.server.handle_exit)
        if (parent := parent_process()) is not None:
            Thread(target=_end_after, args=(parent,), name="parent-watch", daemon=True).start()
        super().target(sockets)


def _end_after(parent: BaseProcess) -> None:
    """Waits on a pipe that the parent alone holds: its SIGKILL is noticed too, on every system."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class Workers:
    """Starts the workers, replaces those that die or hang, ends them all.

    The parent's SIGTERM and SIGINT mean for each worker what they mean for a single process (DrainingServer). It closes
    the sockets as it passes the first one on: the last worker to close its own then gives the port up.
    """

    def __init__(self, config: ServingConfig, listeners: Sequence[socket.socket], announce: Callable[[], None]) -> None:
        self._config, self._listeners, self._announce = config, list(listeners), announce
        self._told: SimpleQueue[signal.Signals] = SimpleQueue()  # may be filled from within a signal handler
        self._workers: list[WorkerProcess] = []

    def run(self) -> bool:
        """Return after the end of the last worker; False where they ended by themselves, since they cannot start."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: self._told.put(signal.Signals(number)))
        self._workers = [self._started() for _ in range(self._config.workers)]
        if self._become_ready():
            self._announce()
        while (told := self._next_signal(_WATCH_SECONDS)) is None:
            if not self._all_serve():
                break
        self._end(told or signal.SIGINT)
        return told is not None

    def _started(self) -> WorkerProcess:
        worker = WorkerProcess(self._config, self._listeners)
        worker.start()
        return worker

    def _become_ready(self) -> bool:
        waiting, end = list(self._workers), time.monotonic() + _READY_SECONDS
        while waiting and self._told.empty() and time.monotonic() < end:
            if not all(worker.lives for worker in waiting):
                return False
            time.sleep(_LOOK_SECONDS)
            waiting = [worker for worker in waiting if not worker.is_ready(_ASK_SECONDS)]
        return not waiting

    def _all_serve(self) -> bool:
        """Replace whoever died; False where one could not even start, since the next one could not either."""
        for place, worker in enumerate(self._workers):
            if worker.is_alive(self._config.timeout_worker_healthcheck):
                continue
            worker.kill()
            worker.join()
            if worker.process.pid is not None:
                forget_process(worker.process.pid)
            if worker.exitcode == STARTUP_FAILURE:
                return False
            self._workers[place] = self._started()
        return True

    def _end(self, told: signal.Signals) -> None:
        for listener in self._listeners:
            listener.close()
        self._tell(_END_WITHOUT_ACCEPTING if told is signal.SIGINT else told)
        while any(worker.lives for worker in self._workers):
            if self._next_signal(_LOOK_SECONDS) is not None:
                self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.tell(number)

    def _next_signal(self, seconds: float) -> signal.Signals | None:
        try:
            return self._told.get(timeout=seconds)
        except Empty:
            return None
