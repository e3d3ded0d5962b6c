"""Builds what reads the logged prompts, as the settings have them sealed."""

import secrets
from datetime import UTC, datetime, timedelta

from neuronetz_gateway.db.database import Database
from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.prompt_cipher import PromptCipher
from neuronetz_gateway.services.logged_prompts import LoggedPrompts
from neuronetz_gateway.settings import Settings


def logged_prompts_of(settings: Settings, database: Database, cipher: PromptCipher | None) -> LoggedPrompts:
    """Over one database, which is not closed here."""
    return LoggedPrompts(database, cipher, longest=longest_of(settings), now=lambda: datetime.now(UTC), new_id=uuid7)


def cipher_of(settings: Settings) -> PromptCipher | None:
    """None without PROMPT_LOG_KEY: then no prompt is kept."""
    key, previous = (each.get_secret_value() for each in (settings.prompt_log_key, settings.prompt_log_key_previous))
    if not key:
        return None
    return PromptCipher(key.encode(), previous.encode() if previous else None, random_bytes=secrets.token_bytes)


def longest_of(settings: Settings) -> timedelta:
    """How long a prompt may be kept at most."""
    return timedelta(days=settings.prompt_log_max_days)
