"""What Linux knows of a process that runs: its memory, its processor time."""

import os
from pathlib import Path

from tests.support.slow_readers import resident_bytes

__all__ = ["forget_the_peak", "peak_bytes", "processor_seconds", "resident_bytes"]


def processor_seconds(pid: int) -> float:
    """What it has used so far, in all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forget_the_peak(pid: int) -> int:
    """The next peak is counted from here on; the bytes that the process has in memory now, shared files included."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes(pid)


def peak_bytes(pid: int) -> int:
    """The most that it had in memory, shared files included, since the peak was forgotten."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024
