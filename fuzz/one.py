"""One target under coverage guidance: `python -m fuzz.one NAME [options of libFuzzer] [folder of inputs]`."""

import sys
from importlib import import_module


def main(arguments: list[str]) -> None:
    atheris = import_module("atheris")  # by name: it is not for every platform
    with atheris.instrument_imports(include=["neuronetz_gateway", "fuzz"]):
        target = import_module(f"fuzz.{arguments[1]}").TARGET
    atheris.Setup([arguments[0], *arguments[2:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
