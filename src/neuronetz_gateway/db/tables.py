"""The tables of the gateway as SQLAlchemy knows them; functions and triggers stand in migrations/sql."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    cast,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, INET
from sqlalchemy.types import TypeEngine

metadata = MetaData()
_MOMENT = DateTime(timezone=True)
_NOW = text("now()")
_SCOPE = "scope IN ('tenant', 'key')"


_TEXTS: TypeEngine[list[str]] = ARRAY(Text)  # type: ignore[assignment]  # its stub names the type of one element


class _Networks(TypeDecorator[list[str]]):
    """Networks, read as texts: of an array of cidr asyncpg asks each new session what it is, 17 ms of Postgres."""

    impl = ARRAY(CIDR)
    cache_ok = True

    def column_expression(self, column: ColumnElement[list[str]]) -> ColumnElement[list[str]]:
        return cast(column, _TEXTS)


_PERIOD = "period IN ('daily', 'monthly', 'total')"

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("time_zone", Text, nullable=False, server_default=text("'UTC'")),
    Column("allow_all_models", Boolean, nullable=False, server_default=text("false")),
    Column("allowed_models", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("rpm", Integer),
    Column("tpm", BigInteger),
    Column("concurrent", Integer),
    Column("output_cap", Integer),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    UniqueConstraint("name", name="tenants_name_key"),
    CheckConstraint("status IN ('active', 'suspended')", name="tenants_status_check"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", Text, nullable=False),
    Column("proven_at", _MOMENT),
    Column("allowed_models", ARRAY(Text)),
    Column("expires_at", _MOMENT),
    Column("revoked_at", _MOMENT),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    Column("may_load_models", Boolean, nullable=False, server_default=text("false")),
    Column("prompt_log_seconds", Integer),
    Column("allowed_networks", _Networks),
    UniqueConstraint("prefix", name="api_keys_prefix_key"),
    UniqueConstraint("id", "tenant_id", name="api_keys_id_tenant_id_key"),
    CheckConstraint("prompt_log_seconds > 0", name="api_keys_prompt_log_seconds_check"),
    CheckConstraint(
        "coalesce(array_ndims(allowed_networks), 1) = 1 and array_position(allowed_networks, null) is null",
        name="api_keys_allowed_networks_check",
    ),
    Index("api_keys_tenant_id_idx", "tenant_id"),
)

key_limits = Table(
    "key_limits",
    metadata,
    Column("api_key_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("rpm", Integer),
    Column("tpm", BigInteger),
    Column("concurrent", Integer),
    Column("output_cap", Integer),
    ForeignKeyConstraint(["api_key_id", "tenant_id"], ["api_keys.id", "api_keys.tenant_id"], ondelete="CASCADE"),
)

key_policies = Table(
    "key_policies",
    metadata,
    Column("api_key_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("max_keep_alive_seconds", Integer),
    Column("max_num_ctx", Integer),
    Column("max_images", Integer),
    Column("max_embedding_inputs", Integer),
    Column("max_logprobs", Integer),
    Column("allow_raw", Boolean),
    Column("allow_context", Boolean),
    ForeignKeyConstraint(["api_key_id", "tenant_id"], ["api_keys.id", "api_keys.tenant_id"], ondelete="CASCADE"),
    CheckConstraint("max_keep_alive_seconds >= 0", name="key_policies_max_keep_alive_seconds_check"),
    CheckConstraint("max_num_ctx >= 0", name="key_policies_max_num_ctx_check"),
    CheckConstraint("max_images >= 0", name="key_policies_max_images_check"),
    CheckConstraint("max_embedding_inputs >= 1", name="key_policies_max_embedding_inputs_check"),
    CheckConstraint("max_logprobs between 0 and 20", name="key_policies_max_logprobs_check"),
)

key_uses = Table(
    "key_uses",
    metadata,
    Column("api_key_id", Uuid, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("last_used_at", _MOMENT, nullable=False),
    Column("last_address", INET),
)

budgets = Table(
    "budgets",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("scope_id", Uuid, nullable=False),
    Column("scope", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("limit_tokens", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope_id", "period"),
    CheckConstraint(_SCOPE, name="budgets_scope_check"),
    CheckConstraint(_PERIOD, name="budgets_period_check"),
    CheckConstraint("limit_tokens >= 0", name="budgets_limit_tokens_check"),
)

budget_usage = Table(
    "budget_usage",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("scope_id", Uuid, nullable=False),
    Column("period", Text, nullable=False),
    Column("window_start", _MOMENT, nullable=False),
    Column("used", BigInteger, nullable=False, server_default=text("0")),
    Column("reserved", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("scope_id", "period", "window_start"),
    CheckConstraint(_PERIOD, name="budget_usage_period_check"),
    CheckConstraint("reserved >= 0", name="budget_usage_reserved_check"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("process_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("api_key_id", Uuid, nullable=False),
    Column("day", _MOMENT, nullable=False),
    Column("month", _MOMENT, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("prompt_bound", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("admitted_at", _MOMENT, nullable=False),
    Column("estimated_tokens", BigInteger, nullable=False, server_default=text("0")),
    Index("reservations_process_id_idx", "process_id"),
    Index("reservations_tenant_id_idx", "tenant_id"),
    CheckConstraint("prompt_bound >= 0 AND reserved >= prompt_bound", name="reservations_reserved_check"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("api_key_id", Uuid, ForeignKey("api_keys.id")),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", _MOMENT, nullable=False, server_default=_NOW),
    CheckConstraint("action IN ('revoked', 'suspended', 'resumed', 'rotated')", name="revocations_action_check"),
    Index("revocations_at_idx", "at"),
)

processes = Table(
    "processes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", _MOMENT, nullable=False, server_default=_NOW),
    Column("heartbeat_at", _MOMENT, nullable=False, server_default=_NOW),
    Column("swept_at", _MOMENT),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("recorded_on", Date, nullable=False, server_default=text("((now() AT TIME ZONE 'UTC'))::date")),
    Column("tenant_id", Uuid),
    Column("api_key_id", Uuid),
    Column("request_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("prompt_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("output_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("charged_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("estimated", Boolean, nullable=False, server_default=text("false")),
    Column("reserved_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("first_byte_ms", Integer),
    Column("duration_ms", Integer),
    Column("admitted_at", _MOMENT, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("day", _MOMENT),
    Column("month", _MOMENT),
    Column("occurrences", Integer, nullable=False, server_default=text("1")),
    Column("writer", Uuid),
    Column("sequence", BigInteger),
    Column("hash", LargeBinary),
    CheckConstraint("occurrences > 0", name="audit_log_occurrences_check"),
    PrimaryKeyConstraint("id", "recorded_on"),
    Index("audit_log_tenant_id_admitted_at_idx", "tenant_id", "admitted_at"),
    Index("audit_log_writer_recorded_on_sequence_idx", "writer", "recorded_on", "sequence", unique=True),
    Index("audit_log_request_id_idx", "request_id"),
    Index("audit_log_status_idx", "status", "id", postgresql_where=text("status <> 200")),
    Index("audit_log_outcome_idx", "outcome", "id", postgresql_where=text("outcome <> 'completed'")),
    Index("audit_log_adjusted_idx", "request_id", postgresql_where=text("outcome = 'adjusted'")),
    postgresql_partition_by="RANGE (recorded_on)",
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("writer", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("writer", "day"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", _MOMENT, nullable=False),
    Column("document", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

audit_listed = Table(
    "audit_listed",
    metadata,
    Column("writer", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("writer", "day"),
)

audit_carried = Table(
    "audit_carried",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("scope_id", Uuid, nullable=False),
    Column("period", Text, nullable=False),
    Column("window_start", _MOMENT, nullable=False),
    Column("charged", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope_id", "period", "window_start"),
    CheckConstraint(_PERIOD, name="audit_carried_period_check"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("recorded_on", Date, nullable=False),
    Column("local_day", Date, nullable=False),
    Column("api_key_id", Uuid),
    Column("model", Text, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("charged_tokens", BigInteger, nullable=False),
    Index("usage_days_tenant_id_local_day_idx", "tenant_id", "local_day"),
)

usage_closed = Table(
    "usage_closed",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("before", Date, nullable=False),
)

prompt_log = Table(
    "prompt_log",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("expires_on", Date, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("api_key_id", Uuid, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("admitted_at", _MOMENT, nullable=False),
    Column("expires_at", _MOMENT, nullable=False),
    Column("prompt_bytes", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("id", "expires_on"),
    Index("prompt_log_tenant_id_admitted_at_idx", "tenant_id", "admitted_at"),
    postgresql_partition_by="RANGE (expires_on)",
)
