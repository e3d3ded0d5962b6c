"""What each setting does, in the words of docs/CONFIGURATION.md."""

# Each group begins with a setting; the rest of it follows in the order of the class.
GROUPS = {
    "Where the gateway stands": "environment",
    "Stores": "database_url",
    "Ollama": "ollama_base_url",
    "Keys": "key_pepper",
    "What a new tenant gets": "default_rpm",
    "What a request may be": "max_body_bytes",
    "Leases, heartbeats, recovery": "lease_s",
    "Audit": "audit_retention_days",
}
UNITS = {
    "_per_minute": "a minute", "_s": "seconds", "_bytes": "bytes", "_kib": "KiB", "_days": "days", "_tokens": "tokens",
}  # fmt: skip
WHAT = {
    "environment": "Production is strict about secrets; development is for your own machine.",
    "host": "The address to listen on.",
    "port": "The port to listen on; 0 takes a free one.",
    "workers": "Processes that share the port: one a core is a good start.",
    "trusted_proxies": "Addresses or networks, comma-separated, whose `X-Forwarded-For` is believed.",
    "playground_enabled": "Serves a page to try models with a key, at `/playground`; one for people at `/`.",
    "metrics_enabled": "Counts, and serves what is counted at `/metrics`.",
    "metrics_host": "The address of the metrics' own listener, where there is one.",
    "metrics_port": "With a port the metrics are there alone; 0 has them at `http://HOST:PORT/metrics`.",
    "log_level": "`debug`, `info`, `warning` or `error`; one JSON line an event.",
    "drain_accept_s": "From SIGTERM on `/readyz` says no, requests are still taken, so that a balancer can turn away.",
    "drain_timeout_s": "From SIGTERM on, in all: what still runs then is ended, in the words of its protocol.",
    "database_url": "`postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE`. Needed.",
    "database_pool_size": "Sessions of a process for look-ups and management; five more are the ledger's.",
    "database_connect_timeout_s": "How long opening a session, or getting one of the pool, may take.",
    "database_statement_timeout_s": (
        "How long a statement may run on the server; past that and 0.5 s its session is given up."
    ),
    "database_lock_timeout_s": "How long a statement waits for a lock that another session holds.",
    "ledger_timeout_s": "How long a request waits for Postgres (its key, its reservation) before it is told 503.",
    "redis_url": "`redis://`, `rediss://` (TLS) or `unix://`; its `maxmemory-policy` must be `noeviction`. Needed.",
    "redis_timeout_s": "How long a request waits for Redis before it is told 503.",
    "redis_key_cache_ttl_s": (
        "How long what is known of a key is kept in Redis, sealed; changes hold at once all the same."
    ),
    "ollama_base_url": "Where the model server is: a plain `http://` or `https://` address.",
    "upstream_connect_timeout_s": "How long connecting to Ollama may take: then 503.",
    "upstream_first_byte_timeout_s": (
        "How long Ollama may take to begin its answer, with its queue and the load of a model: then 504."
    ),
    "upstream_record_timeout_s": "How long an answer may pause between two records.",
    "upstream_total_timeout_s": "How long an answer may take in all.",
    "upstream_max_in_flight": "Requests of a process that are at Ollama at once; past it 503 `overloaded`.",
    "model_facts_refresh_s": (
        "How often Ollama is asked what its models add to each prompt and how much they hold; 0 is never."
    ),
    "key_pepper": (
        "The secret under which keys are digested; without it no key in the database works. Needed; `openssl "
        "rand -hex 32`."
    ),
    "key_pepper_previous": (
        "The pepper of before, while keys made under it are still in use "
        "([rotation](OPERATIONS.md#key_pepper))."
    ),
    "argon2_memory_kib": "Memory of one proof of a key by Argon2id.",
    "argon2_time_cost": "Passes of Argon2id.",
    "argon2_parallelism": "Lanes of Argon2id.",
    "argon2_queue": (
        "Proofs that wait for a thread; past it a key that was proven before is let in by its digest, another "
        "gets 503."
    ),
    "key_memory_ttl_s": "How long a process remembers a key by itself; changes hold at once all the same.",
    "auth_failures_per_minute": "Bad keys from one address (IPv6: a /64), past which further bad ones are told 429.",
    "default_rpm": "Requests in any 60 seconds.",
    "default_tpm": "Tokens in any 60 seconds.",
    "default_concurrent": "Requests under way at once.",
    "max_body_bytes": "The largest request body; past it 413.",
    "max_bodies_bytes": (
        "What a process holds of bodies over 64 KiB and of those that are not whole yet; a tenant gets at "
        "most a half."
    ),
    "body_timeout_s": "How long a body may take to arrive: then 408.",
    "max_connections": "Callers' connections of a process; each needs an open file.",
    "max_json_depth": "How deep a body may be nested.",
    "max_json_nodes": "How many values a body may have.",
    "max_output_tokens": "The output cap of a request that asks for none, of a key that has none.",
    "prompt_template_tokens": (
        "The least that a model's template counts; all that is counted of a model of which nothing is known "
        "yet."
    ),
    "image_token_bound": "What an image counts in the bound of a prompt.",
    "max_embedding_inputs": "Texts in one embedding request.",
    "max_images": "Images in one request.",
    "max_logprobs": "The most log probabilities a token.",
    "max_keep_alive_s": "The longest `keep_alive` that a request may ask for; 0: it may not say.",
    "max_num_ctx": "The largest `num_ctx` that a request may ask for; 0: it may not say.",
    "allow_raw": "Whether a prompt may pass by template and system prompt.",
    "allow_context": "Whether the context of an earlier answer may be sent.",
    "lease_s": "How long a place under a concurrency limit outlives the last heartbeat of its gateway.",
    "heartbeat_s": (
        "How often a process says that it lives, to Redis and to Postgres; how soon a revoked key's answers "
        "are cut."
    ),
    "recovery_after_s": "A process not heard of for so long is taken for dead: what it held is charged in full.",
    "audit_retention_days": "How many days of the audit log are kept; 0 keeps everything.",
    "audit_refusals_per_minute": (
        "Of one key, a process; past it refusals of the same kind share a row that counts them."
    ),
    "audit_checkpoint_s": "How often the chains of the audit log are signed.",
    "audit_checkpoint_sink": "Where signed checkpoints go besides the database: `stdout`, or a file to append to.",
    "audit_signing_key": "Signs checkpoints; without it a key made from `KEY_PEPPER` does.",
    "prompt_log_key": "Seals logged prompts; without it no key can have its prompts logged.",
    "prompt_log_key_previous": "The key of before, while prompts sealed under it are still to be read.",
    "prompt_log_max_bytes": "How much of a prompt is kept.",
    "prompt_log_max_days": "The longest time for which prompts may be kept.",
}  # fmt: skip
