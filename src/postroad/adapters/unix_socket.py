"""What all doors on Unix sockets share: who is at the other end, and sockets that daemons left behind."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as of its connect (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that is gone; OSError when one answers, or it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} is in the way of the socket and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"another daemon listens at {path}")
