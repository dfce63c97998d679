"""What the system gave up before we could read it: a datagram socket's own count, on Linux."""

import socket
import struct
import sys

SO_MEMINFO = 55
MEMINFO = struct.Struct("9I")  # SK_MEMINFO_VARS of linux/sock_diag.h; the last one counts drops


def dropped_by_kernel(sock: socket.socket) -> int:
    """Datagrams that found the socket's buffer full since it was made, modulo 2**32; 0 where nobody tells."""
    if sys.platform != "linux":
        return 0
    drops: int = MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[-1]
    return drops
