"""The entry that an ASGI server is given by name."""

import os
from pathlib import Path

from starlette.types import ASGIApp

from neuronetz_gateway.app import create_app
from neuronetz_gateway.observability.logging import configure_logging
from neuronetz_gateway.settings import load_settings
from neuronetz_gateway.wiring import build_services

ENV_FILE_VARIABLE = "NEURONETZ_ENV_FILE"


def create() -> ASGIApp:
    """The application of this process; raises SettingsError with one line that says what to mend."""
    env_file = os.environ.get(ENV_FILE_VARIABLE)
    settings = load_settings(Path(env_file) if env_file else None)
    configure_logging(settings.log_level)
    return create_app(settings, build_services(settings))
