"""What a daemon begins with, and what only root may do before it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from postroad.adapters.privileges import (
    PrivilegeError,
    appearance,
    check_state,
    drop,
    identity,
    keep,
    own_state,
)
from postroad.adapters.smtpd_listen import bind_early, bound_address
from postroad.adapters.systemd import passed_sockets
from postroad.config import load
from postroad.config.model import Config, Listener


@dataclass(frozen=True, slots=True)
class Start:
    """What a daemon begins with: sockets that were bound before it, and files that it may not read again.

    `kept`: where what they had is to be read; `looked`: how they looked then.
    """

    config: Config
    sockets: Sequence[tuple[str, socket.socket]]
    kept: Mapping[Path, Path] = field(default_factory=dict)
    looked: Mapping[Path, tuple[int, int, int] | None] = field(default_factory=dict)


def prepare(config: Config) -> Start:
    """Do what only root may, then be the `user` of the configuration. Raises PrivilegeError, ConfigError."""
    start = Start(config, passed_sockets())
    user = identity(config.user) if config.user is not None else None
    if user is not None and user.uid != os.geteuid():
        if os.geteuid() != 0:
            raise PrivilegeError(f'user = "{user.name}" takes root, or that user, to start')
        own_state(config.state_directory, user)
        looked = {named.path: appearance(named.path) for named in config.files}
        kept = keep(looked)
        early = bind_early([listener for listener in config.listeners if not _is_passed(listener, start)])
        drop(user)
        assert config.path is not None, "serve reads a file"
        start = Start(load(config.path, kept), (*start.sockets, *early), kept, looked)
    check_state(config.state_directory, os.geteuid())
    return start


def _is_passed(listener: Listener, start: Start) -> bool:
    return any(bound_address(sock) == str(listener) for _, sock in start.sockets)
