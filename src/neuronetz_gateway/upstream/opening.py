"""Opens the way to the model server that the settings name."""

from neuronetz_gateway.settings import Settings
from neuronetz_gateway.upstream.client import Upstream
from neuronetz_gateway.upstream.transport import OllamaTransport


def transport_of(settings: Settings) -> OllamaTransport:
    return OllamaTransport(
        connect_timeout_seconds=settings.upstream_connect_timeout_s,
        first_byte_timeout_seconds=settings.upstream_first_byte_timeout_s,
        between_records_timeout_seconds=settings.upstream_record_timeout_s,
    )


def upstream_of(settings: Settings) -> Upstream:
    """Connects at its first use; whoever opens it closes it."""
    return Upstream(transport_of(settings), settings.ollama_base_url)
