"""Ports for servers that are told theirs, which have to find it free when they begin."""

import random
import socket
from pathlib import Path


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody has at ``address``, from below those that the system itself gives away.

    One that the system chose and that was let go may be the next connection's before the server has begun.
    """
    # drawn anew each time: other tests may look for one on this machine at this moment
    for port in random.SystemRandom().sample(range(_first_given() - 10_000, _first_given()), 1000):
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port is free at {address}")


def _first_given() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32768
    # a machine that gives all away has none below
    return first if first > 12_000 else 32768
