"""Keeps the prompts of the keys that were told so, sealed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.db.group_commit import NotCommittedError
from neuronetz_gateway.domain.prompt import PromptRecord
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.prompt_cipher import PromptCipher
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.patient_commit import PatientCommit

_log = structlog.get_logger(__name__)
_CLOSE_SECONDS = 3.0
_MAX_QUEUED = 1_000  # of max_bytes each at most; what no longer fits is lost, counted as prompt_lost


class PromptLog:
    """Takes prompts synchronously, writes them down in the background; neither delays nor fails a request.

    max_bytes is what is kept of one prompt, longest is the longest time that any is kept. Without a cipher
    (PROMPT_LOG_KEY) nothing is kept, which is counted: prompt_not_kept.
    """

    def __init__(
        self,
        database: Database,
        cipher: PromptCipher | None,
        *,
        max_bytes: int,
        longest: timedelta,
        happened: Callable[[str], None],
    ) -> None:
        self._database = database
        self._cipher = cipher
        self.max_bytes = max_bytes
        self._longest = longest
        self._happened = happened
        self._writing = PatientCommit(self._write, name="prompt", max_queued=_MAX_QUEUED, happened=happened)

    @property
    def pending(self) -> int:
        return self._writing.pending

    def keep(self, record: PromptRecord, prompt: bytes) -> None:
        """Seals a prompt, hands it over for good; never raises for what becomes of it."""
        if self._cipher is None:
            self._happened("prompt_not_kept")
            _log.error("prompt_not_kept", reason="PROMPT_LOG_KEY is not set", id=record.id)
            return
        expires_at = min(record.expires_at, record.admitted_at + self._longest)
        record = replace(record, expires_at=expires_at)
        self._writing.post(replace(record, sealed=self._cipher.seal(prompt[: self.max_bytes], record.context)))

    async def aclose(self) -> None:
        """Writes down what waits, for a few seconds at most; what is not written by then is lost."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._writing.drain(), _CLOSE_SECONDS)
        await self._writing.stop()

    async def _write(self, batch: list[PromptRecord]) -> Sequence[None]:
        try:
            async with unit_of_work(self._database) as uow:
                await uow.prompt_log.add(batch)
        except UnavailableError as error:
            raise NotCommittedError("the prompts could not be written") from error
        return [None] * len(batch)
