"""Every setting of the gateway, read once from the environment, an env file or secret files."""

import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from neuronetz_gateway.secret_rules import (
    SECRET_CHARACTERS,
    files_open_to_others,
    holds_a_password,
    password_weakness_of,
    split_url,
    weakness_of,
)
from neuronetz_gateway.settings_error import SettingsError

_MADE_SECRETS = ("key_pepper", "key_pepper_previous", "audit_signing_key", "prompt_log_key", "prompt_log_key_previous")
_MEND = "make one: openssl rand -hex 32"


class Environment(StrEnum):
    PRODUCTION = "production"
    DEVELOPMENT = "development"


class SecretFiles(PydanticBaseSettingsSource):
    """Reads NAME from the file that NAME_FILE points to (the convention of container secrets).

    variables are those of the place in which NAME_FILE may stand: the environment, or an env file.
    """

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._variables = {name.upper(): value for name, value in variables.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        path = self._variables.get(f"{field_name.upper()}_FILE")
        return (_secret(Path(path)) if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is None:
                continue
            if self._variables.get(name.upper()):
                raise SettingsError(f"{name.upper()} and {name.upper()}_FILE are both set; keep one of them.")
            values[key] = value
        return values


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"The secret file {path} is no text; a pepper is made with: openssl rand -hex 32") from None


class Settings(BaseSettings):
    """One field a variable; the variable is the field's name in capitals. Durations end in _S (seconds)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True)

    # Where the gateway stands
    environment: Environment = Environment.PRODUCTION
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    trusted_proxies: str = Field(default="", description="comma-separated addresses or networks")
    playground_enabled: bool = False  # also of the page for people at /, beside the greeting for programs
    metrics_enabled: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)  # 0: on the port of the gateway, as a page of it
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    drain_accept_s: float = Field(default=5, ge=0)  # from SIGTERM on: not ready any more, still accepting
    drain_timeout_s: float = Field(default=30, ge=0)  # the same: until what still runs is ended

    # Stores
    database_url: SecretStr = SecretStr("")
    database_pool_size: int = Field(default=5, ge=1, le=100)
    database_connect_timeout_s: float = Field(default=2, gt=0)
    database_statement_timeout_s: float = Field(default=2, gt=0)
    database_lock_timeout_s: float = Field(default=1, gt=0)
    ledger_timeout_s: float = Field(default=0.9, gt=0)
    redis_url: SecretStr = SecretStr("")
    redis_timeout_s: float = Field(default=0.25, gt=0, le=5)
    redis_key_cache_ttl_s: int = Field(default=300, ge=1)

    # Ollama
    ollama_base_url: str = "http://127.0.0.1:11434"
    upstream_connect_timeout_s: float = Field(default=5, gt=0)
    upstream_first_byte_timeout_s: float = Field(default=600, gt=0)
    upstream_record_timeout_s: float = Field(default=120, gt=0)
    upstream_total_timeout_s: float = Field(default=3600, gt=0)
    upstream_max_in_flight: int = Field(default=512, ge=1)
    model_facts_refresh_s: float = Field(default=60, ge=0)  # 0: never asked

    # Keys
    key_pepper: SecretStr = SecretStr("")
    key_pepper_previous: SecretStr = SecretStr("")
    argon2_memory_kib: int = Field(default=19456, ge=8)
    argon2_time_cost: int = Field(default=2, ge=1)
    argon2_parallelism: int = Field(default=1, ge=1)
    argon2_queue: int = Field(default=16, ge=1)
    key_memory_ttl_s: float = Field(default=60, gt=0)
    auth_failures_per_minute: int = Field(default=60, ge=1)

    # What a new tenant gets
    default_rpm: int | None = Field(default=120, ge=1)
    default_tpm: int | None = Field(default=200_000, ge=1)
    default_concurrent: int | None = Field(default=16, ge=1)

    # What a request may be
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    max_bodies_bytes: int = Field(default=128 * 1024 * 1024, ge=2048)  # of a process
    body_timeout_s: float = Field(default=30, gt=0)
    max_connections: int = Field(default=10_000, ge=1)  # of a process
    max_json_depth: int = Field(default=64, ge=4, le=200)  # the encoder itself ends at 254
    max_json_nodes: int = Field(default=200_000, ge=16)
    max_output_tokens: int = Field(default=4096, ge=1)
    prompt_template_tokens: int = Field(default=1024, ge=0)
    image_token_bound: int = Field(default=4096, ge=1)
    max_embedding_inputs: int = Field(default=2048, ge=1)
    max_images: int = Field(default=64, ge=0)
    max_logprobs: int = Field(default=20, ge=0, le=20)  # Ollama's own bound
    max_keep_alive_s: int = Field(default=0, ge=0, le=31_536_000)  # 0: nobody may say; a key may have more (set-policy)
    max_num_ctx: int = Field(default=0, ge=0, le=2**31 - 1)  # 0: the model server's own
    allow_raw: bool = False
    allow_context: bool = True

    # Leases, heartbeats, recovery
    lease_s: float = Field(default=30, gt=0)
    heartbeat_s: float = Field(default=5, gt=0)
    recovery_after_s: float = Field(default=60, gt=0)

    # Audit
    audit_retention_days: int = Field(default=90, ge=0)  # 0: for ever
    audit_refusals_per_minute: int = Field(default=600, ge=1)
    audit_checkpoint_s: float = Field(default=300, gt=0)
    audit_checkpoint_sink: str = Field(default="", description="stdout, or a file to append to")
    audit_signing_key: SecretStr = SecretStr("")
    prompt_log_key: SecretStr = SecretStr("")
    prompt_log_key_previous: SecretStr = SecretStr("")
    prompt_log_max_bytes: int = Field(default=64 * 1024, ge=1024)
    prompt_log_max_days: int = Field(default=30, ge=1, le=365)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del file_secret_settings
        # The environment wins over the env file, whichever of the two names a secret's file.
        in_file = dotenv_settings.env_vars if isinstance(dotenv_settings, DotEnvSettingsSource) else {}
        return (
            init_settings,
            SecretFiles(settings_cls, os.environ),
            env_settings,
            SecretFiles(settings_cls, in_file),
            dotenv_settings,
        )

    @field_validator("default_rpm", "default_tpm", "default_concurrent", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        return None if isinstance(value, str) and value.lower() in {"none", ""} else value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for part in filter(None, (piece.strip() for piece in value.split(","))):
            ip_network(part, strict=False)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needed = ("database_url", "redis_url", "key_pepper")
        missing = [name.upper() for name in needed if not getattr(self, name).get_secret_value()]
        if missing:
            raise ValueError(f"{_listed(missing)} not set, neither in the environment nor in an env file (--env-file)")
        self._refuse_bad_addresses()
        if self.heartbeat_s * 3 > self.lease_s:
            raise ValueError("LEASE_S must be at least three times HEARTBEAT_S, or a slow heartbeat would cut streams")
        if self.heartbeat_s * 3 > self.recovery_after_s:
            raise ValueError("RECOVERY_AFTER_S must be at least three times HEARTBEAT_S, or the living would be swept")
        if self.upstream_total_timeout_s < self.upstream_first_byte_timeout_s:
            raise ValueError("UPSTREAM_TOTAL_TIMEOUT_S is below UPSTREAM_FIRST_BYTE_TIMEOUT_S")
        if self.max_bodies_bytes < 2 * self.max_body_bytes:
            raise ValueError("MAX_BODIES_BYTES must be at least twice MAX_BODY_BYTES, since one tenant may take a half")
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError("METRICS_PORT is PORT; 0 has the metrics on the port of the gateway")
        self._refuse_weak_secrets()
        return self

    def _refuse_bad_addresses(self) -> None:
        if not self.database_url.get_secret_value().startswith("postgresql+asyncpg://"):
            raise ValueError("DATABASE_URL must begin with postgresql+asyncpg://")
        if not self.redis_url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("REDIS_URL must begin with redis://, rediss:// or unix://")
        parts = split_url(self.ollama_base_url)
        plain = parts is not None and parts.hostname and not parts.query and "@" not in parts.netloc
        if parts is None or parts.scheme not in {"http", "https"} or not plain:
            raise ValueError(
                "OLLAMA_BASE_URL must be a plain http:// or https:// address such as http://127.0.0.1:11434"
            )
        for name, url in (
            ("DATABASE_URL", self.database_url.get_secret_value()),
            ("REDIS_URL", self.redis_url.get_secret_value()),
            ("OLLAMA_BASE_URL", self.ollama_base_url),
        ):
            if not _has_a_good_port(url):
                raise ValueError(f"{name} names a port that is no number from 1 to 65535")

    def _refuse_weak_secrets(self) -> None:
        production = self.environment is Environment.PRODUCTION
        for name in _MADE_SECRETS:
            secret = getattr(self, name).get_secret_value()
            if not secret:
                continue
            weakness = weakness_of(secret)
            if weakness is not None and (production or len(secret) < SECRET_CHARACTERS):
                raise ValueError(f"{name.upper()} {weakness}; {_MEND}")
        if self.key_pepper.get_secret_value() == self.key_pepper_previous.get_secret_value():
            raise ValueError("KEY_PEPPER and KEY_PEPPER_PREVIOUS are the same")
        if production:
            self._refuse_weak_passwords()

    def _refuse_weak_passwords(self) -> None:
        for name in ("database_url", "redis_url"):
            weakness = password_weakness_of(getattr(self, name).get_secret_value(), os.environ)
            if weakness is not None:
                raise ValueError(f"{name.upper()} {weakness}; make a password: openssl rand -hex 16")

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The peers whose X-Forwarded-For is believed."""
        parts = (piece.strip() for piece in self.trusted_proxies.split(","))
        return tuple(ip_network(part, strict=False) for part in parts if part)

    @property
    def process_host(self) -> str:
        return socket.gethostname()


def load_settings(env_file: Path | None = None, given: Mapping[str, str] | None = None) -> Settings:
    """The settings, or SettingsError with one line that names each variable at fault and shows no value.

    What is `given`, by the names of fields, wins over whatever is set.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"The env file {env_file} {'is no file' if env_file.exists() else 'does not exist'}.")
    try:
        # _env_file is pydantic-settings' own argument, unknown to the type checker
        settings = Settings(**{"_env_file": env_file} if env_file else {}, **(given or {}))  # type: ignore[arg-type]
        if settings.environment is Environment.PRODUCTION:
            _refuse_open_files(env_file)
    except ValidationError as error:
        sentences = (_sentence(problem["loc"], problem["msg"]) for problem in error.errors())
        raise SettingsError("; ".join(sentences)) from None
    except UnicodeDecodeError:  # SecretFiles names a secret file itself
        raise SettingsError(f"The env file {env_file or '.env'} is no text.") from None
    except OSError as error:
        raise SettingsError(f"An env file or secret file cannot be read: {error.filename}: {error.strerror}.") from None
    return settings


def open_secrets(env_file: Path | None) -> list[tuple[str, Path]]:
    """The secrets that lie in a file that everybody on this machine may read or write, each with that file."""
    holder = env_file or Path(".env")
    is_address = {"DATABASE_URL", "REDIS_URL"}
    secrets = {
        name.upper(): holds_a_password if name.upper() in is_address else bool
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr
    }
    found = files_open_to_others(os.environ, secrets, None)
    if holder.is_file():
        in_file = DotEnvSettingsSource(Settings, env_file=holder).env_vars
        found += files_open_to_others(in_file, secrets, holder)
    return found


def _refuse_open_files(env_file: Path | None) -> None:
    found = open_secrets(env_file)
    if found:
        name, path = found[0]
        raise SettingsError(
            f"{name} lies in {path}, which everybody on this machine may read or write; run: chmod o-rwx {path}"
        )


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{str(location[0]).upper()}: {text}" if location else text


def _listed(names: list[str]) -> str:
    """Names with their verb: A is, A and B are, A, B and C are."""
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _has_a_good_port(url: str) -> bool:
    """Whether the port can be connected to, if there is one; a driver would fail later, in words of its own."""
    parts = split_url(url)
    try:
        return parts is not None and parts.port != 0
    except ValueError:
        return False
