"""What operators may do with logged prompts, each act written down in the audit log."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import ApiKey
from neuronetz_gateway.domain.prompt import PromptRecord
from neuronetz_gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from neuronetz_gateway.prompt_cipher import PromptCipher
from neuronetz_gateway.repositories.audit_notes import Note
from neuronetz_gateway.repositories.unit_of_work import UnitOfWork, unit_of_work


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt in the clear, cut where it was longer than what is kept."""

    record: PromptRecord
    prompt: bytes

    @property
    def cut(self) -> bool:
        return len(self.prompt) < self.record.prompt_bytes


class LoggedPrompts:
    """Every method raises NotFoundError for what is not there, UnavailableError while Postgres is away."""

    def __init__(
        self,
        database: Database,
        cipher: PromptCipher | None,
        *,
        longest: timedelta,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._longest = longest
        self._now = now
        self._new_id = new_id

    async def set_logging(self, prefix: str, lasting: timedelta | None, *, actor: str) -> ApiKey:
        """Has the prompts of a key kept for a time, from its next request on; None ends it, for new ones.

        Raises ConflictError without PROMPT_LOG_KEY, InvalidRequestError for more than PROMPT_LOG_MAX_DAYS.
        """
        if lasting is not None:
            self._check(lasting)
        async with unit_of_work(self._database) as uow:
            key = await uow.api_keys.get_by_prefix(prefix)
            seconds = None if lasting is None else int(lasting.total_seconds())
            changed = await uow.api_keys.set_prompt_log(key.tenant_id, key.id, seconds)
            told = "off" if seconds is None else f"for {seconds} s"
            await self._note(uow, key.tenant_id, key.id, "", f"prompt logging {told}", actor)
            return changed

    async def list(self, *, tenant_name: str | None, prefix: str | None, limit: int) -> list[PromptRecord]:
        """The newest prompts of a tenant or of one key, without their text."""
        async with unit_of_work(self._database) as uow:
            tenant_id, key_id = await _scope(uow, tenant_name, prefix)
            return await uow.prompt_log.list(tenant_id, self._now(), api_key_id=key_id, limit=limit)

    async def read(self, prompt_id: UUID, *, actor: str) -> ReadPrompt:
        """One prompt in the clear. Raises ConflictError without PROMPT_LOG_KEY, PromptUnreadableError."""
        cipher = self._required_cipher()
        async with unit_of_work(self._database) as uow:
            record = await uow.prompt_log.get(prompt_id, self._now())
            if record.sealed is None:
                raise NotFoundError(f"No prompt is kept under {prompt_id}.")
            prompt = cipher.open(record.sealed, record.context)
            # in the transaction of the reading: nothing is shown that is not written down
            await self._note(uow, record.tenant_id, record.api_key_id, str(record.id), "prompt read", actor)
        return ReadPrompt(record, prompt)

    async def erase(self, *, tenant_name: str | None, prefix: str | None, actor: str) -> int:
        """Deletes all prompts of a tenant or of one key; how many."""
        async with unit_of_work(self._database) as uow:
            tenant_id, key_id = await _scope(uow, tenant_name, prefix)
            gone = await uow.prompt_log.erase(tenant_id, api_key_id=key_id)
            await self._note(uow, tenant_id, key_id, "", f"prompts erased: {gone}", actor)
            return gone

    def _check(self, lasting: timedelta) -> None:
        self._required_cipher()
        if not timedelta(seconds=1) <= lasting <= self._longest:
            raise InvalidRequestError(
                f"Prompts are kept for 1 s to {self._longest.days} days (PROMPT_LOG_MAX_DAYS).", field="for"
            )

    def _required_cipher(self) -> PromptCipher:
        if self._cipher is None:
            raise ConflictError(
                "PROMPT_LOG_KEY is not set, so prompts can be neither sealed nor read; make one: openssl rand -hex 32"
            )
        return self._cipher

    async def _note(
        self, uow: UnitOfWork, tenant_id: UUID, key_id: UUID | None, about: str, reason: str, actor: str
    ) -> None:
        note = Note(self._new_id(), tenant_id, key_id, about, reason, actor, self._now())
        await uow.audit_notes.add(note, writer=self._new_id())


async def _scope(uow: UnitOfWork, tenant_name: str | None, prefix: str | None) -> tuple[UUID, UUID | None]:
    if prefix is not None:
        key = await uow.api_keys.get_by_prefix(prefix)
        return key.tenant_id, key.id
    return (await uow.tenants.get_by_name(tenant_name or "")).id, None
