"""Says which version of the gateway this is."""

from importlib.metadata import version

from neuronetz_gateway.cli import output
from neuronetz_gateway.cli.invocation import NAME


def show_version() -> None:
    output.line(f"{NAME} {version(NAME)}")
