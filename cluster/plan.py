"""What an archive costs: hours, bytes, requests and money, from measured figures and the user's own prices."""

from __future__ import annotations

from dataclasses import dataclass

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class PerCase:
    """What one case takes, measured: seconds on the cores of its worker, bytes and requests of the store."""

    core_s: float
    read_bytes: float
    written_bytes: float
    requests: float = 2.0
    """One to get the scan, one to put the label map."""


@dataclass(frozen=True, slots=True)
class Prices:
    """In any one currency: of a core for an hour, of a GB that leaves the store, of a GB kept for a month.

    ``per_1000_requests`` is of reading and writing alike.
    """

    core_hour: float = 0.0
    gb_read: float = 0.0
    gb_month: float = 0.0
    per_1000_requests: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What all cases take. ``hours`` is on the cores that there are, ``read_mb_s`` what they ask of the store."""

    core_hours: float
    hours: float
    cases_per_core_hour: float
    read_gb: float
    written_gb: float
    read_mb_s: float
    requests: float
    requests_per_s: float
    cost: float
    cost_of_cores: float
    cost_of_store: float


def plan(cases: int, cores: int, each: PerCase, prices: Prices, overhead: float = 0.0) -> Plan:
    """``overhead`` is the share of time that is lost to faults and to copies, as the simulation gives it."""
    core_hours = cases * each.core_s * (1 + overhead) / _HOUR_S
    hours = core_hours / cores
    read_gb, written_gb = cases * each.read_bytes / 1e9, cases * each.written_bytes / 1e9
    requests = cases * each.requests
    of_cores = core_hours * prices.core_hour
    of_store = read_gb * prices.gb_read + written_gb * prices.gb_month + requests / 1000 * prices.per_1000_requests
    return Plan(
        core_hours,
        hours,
        _HOUR_S / (each.core_s * (1 + overhead)),
        read_gb,
        written_gb,
        read_gb * 1000 / (hours * _HOUR_S),
        requests,
        requests / (hours * _HOUR_S),
        of_cores + of_store,
        of_cores,
        of_store,
    )
