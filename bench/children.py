"""Ending the programs that a benchmark starts."""

import subprocess

STOP_SECONDS = 60


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
