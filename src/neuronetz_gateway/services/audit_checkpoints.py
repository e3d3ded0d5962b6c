"""Signed checkpoints of the audit chains, written by whichever process comes first."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import structlog

from neuronetz_gateway.checkpoint_signing import CheckpointSigner
from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.audit_chain import Head
from neuronetz_gateway.domain.checkpoint import NO_CHECKPOINT, Checkpoint, SignedCheckpoint
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work
from neuronetz_gateway.services.checkpoint_sinks import CheckpointSink

_log = structlog.get_logger(__name__)
_AT_ONCE = 200
_NEARLY = 0.9  # of the time between two: so that the one whose turn it was finds it due at its next round


class AuditCheckpoints:
    """Writes a checkpoint every `every_seconds` if any chain has moved, then passes it on to the second sink.

    Every process may try: a lock in Postgres, whose clock decides, lets one do it. What the sink has not got is sent
    again and again until it has. `happened` counts checkpoint_sink_failed, checkpoint_sink_contradicts.
    """

    def __init__(
        self,
        database: Database,
        signer: CheckpointSigner,
        sink: CheckpointSink | None,
        *,
        every_seconds: float,
        happened: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self._database = database
        self._signer = signer
        self._sink = sink
        self._every = timedelta(seconds=every_seconds)
        self._happened = happened
        self._contradicted = ""

    @property
    def public_key(self) -> bytes:
        """By which anybody can check what is signed here from now on."""
        return self._signer.public_key

    async def round(self) -> None:
        """Writes one if it is due, sends the sink what it has not got. Raises UnavailableError."""
        await self.write(due_only=True, waiting=False)
        await self.emit()

    async def write(
        self, *, due_only: bool = False, waiting: bool = True, dropping: Sequence[date] = ()
    ) -> SignedCheckpoint | None:
        """The checkpoint that was written: of what has moved, and of all chains of the days that are to be dropped.

        None where nothing has moved, (not `waiting`) another process is at it, (`due_only`) the last one is too young.
        Raises UnavailableError.
        """
        async with unit_of_work(self._database) as uow:
            chains = uow.audit_chains
            if not await chains.lock(waiting=waiting):
                return None
            last, now = await chains.last_checkpoint(), await chains.now()
            if due_only and last is not None and timedelta(0) <= now - last.at < self._every * _NEARLY:
                return None
            heads = await self._heads(uow, dropping)
            if not heads and not dropping:
                return None
            checkpoint = Checkpoint(
                number=1 if last is None else last.number + 1,
                at=now,
                previous=NO_CHECKPOINT if last is None else last.digest,
                key_id=self._signer.key_id,
                heads=tuple(heads),
                dropped=tuple(dropping),
            )
            signed = self._signed(checkpoint)
            await chains.add_checkpoint(signed, heads)
        _log.debug("checkpoint_written", number=signed.number, heads=len(heads), dropped=len(dropping))
        return signed

    async def emit(self) -> int:
        """Sends the sink what it has not got; how many. A sink that fails is told of and tried again the next time.

        Raises UnavailableError.
        """
        if self._sink is None:
            return 0
        try:
            return await self._emit(self._sink)
        except OSError as error:
            self._happened("checkpoint_sink_failed")
            _log.error("checkpoint_sink_failed", error=error.strerror or type(error).__name__)
            return 0

    async def newest(self, most: int) -> list[SignedCheckpoint]:
        """The newest checkpoints, the newest first. Raises UnavailableError."""
        async with unit_of_work(self._database) as uow:
            return await uow.audit_chains.newest_checkpoints(most)

    async def _heads(self, uow: UnitOfWork, dropping: Sequence[date]) -> list[Head]:
        moved = await uow.audit_chains.moved_heads()
        if not dropping:
            return moved
        listed = {head.chain for head in moved}
        return moved + [head for head in await uow.audit_chains.heads_of(dropping) if head.chain not in listed]

    def _signed(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        document = checkpoint.document()
        return SignedCheckpoint(
            number=checkpoint.number,
            at=checkpoint.at,
            document=document,
            key_id=checkpoint.key_id,
            signature=self._signer.sign(document),
        )

    async def _emit(self, sink: CheckpointSink) -> int:
        last = await asyncio.to_thread(sink.last)
        if last is None and not sink.keeps:
            # What an earlier process has sent nobody knows: its last one may have got lost with it.
            newest = await self.newest(1)
            return await self._append(sink, newest, None)
        if last is not None and not await self._agrees(last):
            return await self._emit_what_is_new_to(sink, last)
        sent, after = 0, 0 if last is None else last.number
        while some := await self._page(after):
            if not (appended := await self._append(sink, some, last)):
                break  # another process of this machine is at it
            sent, last, after = sent + appended, some[-1], some[-1].number
        return sent

    async def _agrees(self, last: SignedCheckpoint) -> bool:
        """Whether the database has what arrived last; if not, one of the two was changed or went back in time."""
        kept = await self._page(last.number - 1, 1)
        if kept and kept[0].document == last.document:
            return True
        if self._contradicted != last.digest:
            self._contradicted = last.digest
            self._happened("checkpoint_sink_contradicts")
            _log.error("checkpoint_sink_contradicts", number=last.number)
        return False

    async def _emit_what_is_new_to(self, sink: CheckpointSink, last: SignedCheckpoint) -> int:
        arrived = await asyncio.to_thread(sink.digests)
        sent, after, end = 0, 0, last
        while some := await self._page(after):
            after = some[-1].number
            new = [each for each in some if each.digest not in arrived]
            if new and not await self._append(sink, new, end):
                break
            sent, end = sent + len(new), new[-1] if new else end
        return sent

    async def _append(
        self, sink: CheckpointSink, checkpoints: Sequence[SignedCheckpoint], after: SignedCheckpoint | None
    ) -> int:
        if not checkpoints or not await asyncio.to_thread(sink.append, checkpoints, after):
            return 0
        return len(checkpoints)

    async def _page(self, after: int, most: int = _AT_ONCE) -> list[SignedCheckpoint]:
        async with unit_of_work(self._database) as uow:
            return await uow.audit_chains.checkpoints(after=after, most=most)
