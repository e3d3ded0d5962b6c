"""What was written to a caller that the caller has not taken yet."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

_NONE = struct.pack("i", 0)
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


def untaken_bytes(transport: asyncio.Transport) -> int:
    """What stands here, with what the kernel has that the other side has not acknowledged.

    The kernel alone may hold megabytes, of which it asks for more a third at a time: seen from here a caller who reads
    10 kB/s has then taken nothing for minutes. Where it does not tell, what stands here has to do.
    """
    waiting = transport.get_write_buffer_size()
    connected = transport.get_extra_info("socket")
    with suppress(OSError):  # SIOCOUTQ is Linux's own; elsewhere it is refused
        waiting += struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, _NONE))[0]
    return int(waiting)


def bound_unsent(transport: asyncio.Transport, size_bytes: int) -> None:
    """Let the kernel take only so much of what it cannot send yet; where it knows no such bound it has its own."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        connected.setsockopt(socket.IPPROTO_TCP, option, size_bytes)


def reset(transport: asyncio.Transport) -> None:
    """Close at once, dropping what the kernel has too: else it would go on offering that for minutes."""
    connected = transport.get_extra_info("socket")
    if connected is not None:
        with suppress(OSError):  # it has been closed meanwhile
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
