"""Proving by Argon2id that a presented key is the one that was issued."""

from collections.abc import Callable
from datetime import datetime

import structlog

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.api_key import KeyCredential, PlainKey
from neuronetz_gateway.key_hashing import KeyHasher
from neuronetz_gateway.repositories.api_keys import KeyRecord
from neuronetz_gateway.repositories.unit_of_work import unit_of_work
from neuronetz_gateway.services.background_work import BackgroundWork
from neuronetz_gateway.services.identity import Proof
from neuronetz_gateway.services.verification_lane import LaneFullError, VerificationLane

_log = structlog.get_logger(__name__)

_ANY_KEY = PlainKey("nz_" + "0" * 41)


class KeyProver:
    """Runs Argon2id for keys whose digest matches, then has a good result written down behind the caller's back.

    Written down are the time of the proof, a hash by today's parameters, a digest under today's pepper: whichever the
    record lacks. `on_renewed` is told of the proof that counts from then on, when the stored hash was replaced.
    """

    def __init__(
        self,
        database: Database,
        hasher: KeyHasher,
        lane: VerificationLane,
        *,
        background: BackgroundWork,
        now: Callable[[], datetime],
        happened: Callable[[str], None],
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._lane = lane
        self._background = background
        self._now = now
        self._happened = happened
        self._recording: set[bytes] = set()

    async def start(self) -> None:
        """Runs Argon2id once; raises UnavailableError where that cannot be done."""
        await self._lane.hash(_ANY_KEY)

    def proof_of(self, credential: KeyCredential, secret_hash: str | None = None) -> Proof:
        """The proof that a credential asks for, by its own hash or by the one that replaces it."""
        fingerprint = self._hasher.fingerprint(secret_hash or credential.secret_hash)
        return Proof(credential.api_key_id, self._hasher.pepper_id, fingerprint)

    def was_proven(self, credential: KeyCredential) -> bool:
        """Whether Argon2id has agreed to this very digest before: enough while the lane is full (DESIGN §3)."""
        return credential.proven_at is not None and credential.pepper_id == self._hasher.pepper_id

    async def verify(self, name: bytes, key: PlainKey, credential: KeyCredential) -> bool:
        """Whether Argon2id agrees. Raises LaneFullError or UnavailableError."""
        self._happened("argon2_verification")
        if await self._lane.verify(name, key, credential.secret_hash):
            return True
        # The digest matched: the stored hash is not that of the key that the digest was made of.
        self._happened("argon2_disagrees_with_digest")
        _log.error("argon2_disagrees_with_digest", key_prefix=key.prefix, api_key_id=str(credential.api_key_id))
        return False

    def record(self, name: bytes, key: PlainKey, record: KeyRecord, on_renewed: Callable[[Proof], None]) -> None:
        """Begins to write down a good proof, unless the record says it all or it is being written."""
        credential = record.credential
        complete = self.was_proven(credential) and not self._hasher.needs_rehash(credential.secret_hash)
        if complete or name in self._recording:
            return
        self._recording.add(name)
        self._background.start(self._write(name, key, record, on_renewed), failing="proof_recording_failed")

    async def _write(self, name: bytes, key: PlainKey, record: KeyRecord, on_renewed: Callable[[Proof], None]) -> None:
        credential = record.credential
        renewed = credential.pepper_id != self._hasher.pepper_id
        try:
            secret_hash = await self._renewed_hash(key, credential)
            async with unit_of_work(self._database) as uow:
                recorded = await uow.api_keys.set_proven(
                    record.principal.tenant_id,
                    credential.api_key_id,
                    self._now(),
                    verified_hash=credential.secret_hash,
                    secret_hash=secret_hash,
                    digest=self._hasher.digest(key) if renewed else None,
                    pepper_id=self._hasher.pepper_id if renewed else None,
                )
        finally:
            self._recording.discard(name)
        if recorded and secret_hash is not None:
            on_renewed(self.proof_of(credential, secret_hash))

    async def _renewed_hash(self, key: PlainKey, credential: KeyCredential) -> str | None:
        if not self._hasher.needs_rehash(credential.secret_hash):
            return None
        try:
            return await self._lane.hash(key)
        except LaneFullError:
            return None  # the next use will find it wanting again
