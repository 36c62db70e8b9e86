"""Sockets that listen: bound here or passed by the service manager, on IPv4, IPv6 and Unix."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from postroad.adapters.unix_socket import remove_stale
from postroad.config.model import Listener

BACKLOG: Final = 512


class BindError(OSError):
    """A listener cannot be had; the text names its address and the cause."""


class SocketMismatch(BindError):
    """What systemd passes and what the configuration names do not go together: trying again mends nothing."""


class Passed:
    """The sockets that systemd passed, with their names; each is given to one listener.

    A listener "systemd:NAME" gets all of that name, any other the one bound to its address.
    """

    def __init__(self, named: Sequence[tuple[str, socket.socket]]) -> None:
        self._left = list(named)

    def take(self, listener: Listener) -> list[socket.socket]:
        """Raises SocketMismatch where it names sockets that were not passed, or that it cannot use."""
        if listener.passed is None:
            mine = [(name, sock) for name, sock in self._left if bound_address(sock) == str(listener)]
        else:
            mine = [(name, sock) for name, sock in self._left if name == listener.passed]
            if not mine:
                raise SocketMismatch(
                    f"{listener}: systemd passed no socket of that name (FileDescriptorName=); is its socket "
                    f"unit enabled? (systemctl enable --now postroad-{listener.passed}.socket, or the like)"
                )
        for item in mine:
            self._left.remove(item)
        for _, sock in mine:
            _check(listener, sock)
            sock.listen(BACKLOG)
        return [sock for _, sock in mine]

    def refuse_rest(self) -> None:
        """Close what no listener wants, and raise SocketMismatch that names it.

        Its clients would wait for ever.
        """
        if not self._left:
            return
        names = ", ".join(f"{bound_address(sock)} ({name})" for name, sock in self._left)
        for _, sock in self._left:
            sock.close()
        raise SocketMismatch(
            f"systemd passed sockets that no [[listener]] names: {names}; give them one, as "
            f'address = "systemd:{self._left[0][0]}", or disable their socket unit'
        )


def _check(listener: Listener, sock: socket.socket) -> None:
    if sock.type != socket.SOCK_STREAM:
        raise SocketMismatch(f"{listener}: systemd passed a socket that is no stream (ListenStream=)")
    if sock.family == socket.AF_UNIX and (listener.tls != "off" or listener.auth != "off" or listener.proxy):
        why = 'a Unix socket knows its clients by their uid: tls = "off", auth = "off", and no proxy'
        raise SocketMismatch(f"{listener}: {why}")


def bind_early(listeners: Sequence[Listener]) -> list[tuple[str, socket.socket]]:
    """As root: all addresses that are known by now. Raises BindError, and nothing is bound then.

    For `Passed`, which gives each to its listener.
    """
    bound: list[tuple[str, socket.socket]] = []
    try:
        for listener in listeners:
            if listener.path is not None:
                bound.append(("early", _bind_unix(listener)))
            elif listener.host and listener.port:
                bound += [("early", sock) for sock in _bind_host(listener, listeners)]
    except BindError:
        for _, sock in bound:
            sock.close()
        raise
    return bound


def _bind_host(listener: Listener, listeners: Sequence[Listener]) -> list[socket.socket]:
    family = socket.AF_INET if _is_ipv4(listener.host) else socket.AF_INET6
    try:
        return [
            socket.create_server(
                (listener.host, listener.port),
                family=family,
                backlog=BACKLOG,
                dualstack_ipv6=_both(listener, listeners),
            )
        ]
    except OSError as error:
        raise _failed(listener, error) from error


def _both(listener: Listener, listeners: Sequence[Listener]) -> bool:
    return listener.host == "::" and not any(
        other.port == listener.port and _is_ipv4(other.host) for other in listeners
    )


async def bind(listener: Listener, listeners: Sequence[Listener]) -> list[socket.socket]:
    """Every address of the listener, listening; BindError and none otherwise.

    "[::]" takes IPv4 too, unless another of the `listeners` has an IPv4 address with that port.
    """
    if listener.path is not None:
        return [_bind_unix(listener)]
    loop = asyncio.get_running_loop()
    both = _both(listener, listeners)
    bound: list[socket.socket] = []
    try:
        infos = await loop.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in infos:
            bound.append(socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise _failed(listener, error) from error
    return bound


def _bind_unix(listener: Listener) -> socket.socket:
    assert listener.path is not None
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(listener.path)
        listening.bind(os.fspath(listener.path))
        # Nobody can connect before it listens, so nobody finds it with another owner or mode.
        if listener.owner is not None:
            os.chown(listener.path, *listener.owner)
        listener.path.chmod(listener.mode)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _failed(listener, error) from error
    return listening


def _failed(listener: Listener, error: OSError) -> BindError:
    return BindError(error.errno, f"cannot listen on {listener}: {error.strerror or error}")


def _is_ipv4(host: str) -> bool:
    try:
        return ip_address(host).version == 4
    except ValueError:
        return False


def bound_address(sock: socket.socket) -> str:
    """Where a socket listens, as listeners are written: "host:port", "[host]:port", "unix:/path"."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
