"""The energy of a run and its CO2: from what was counted while it ran, else from the limits of what it ran on.

Where nothing is known of the GPUs, the sums say that they are without them.
"""

from __future__ import annotations

from training.learning.checkpoint import Progress
from training.learning.environment import Environment
from training.reports.gpu_power import tdp_watts

WATTS_PER_THREAD = 15.0
"""A server CPU's design power over its hardware threads, memory and supply included: 10 to 20 W."""

GRAMS_PER_KWH = 475.0
"""The world's average for electricity (IEA, 2019)."""

_JOULES = 3.6e6
"""In a kWh."""

Rows = list[tuple[str, str]]


def energy_rows(
    progress: Progress | None, environment: Environment | None, watts: float | None, grams_per_kwh: float
) -> Rows:
    """Energy and CO2 with their sources. ``watts`` is the mean power, where somebody has measured it."""
    without = ""
    if progress is None:
        return [("Energy", "unknown: nothing was recorded with these weights")]
    if watts is not None:
        rows, kwh = [("Mean power", f"{watts:.0f} W (as given)")], watts * progress.spent_s / _JOULES
    elif environment is None:
        return [("Energy", "unknown: the run recorded no environment; give --watts")]
    else:
        cpu, gpu = _cpu(progress, environment), _gpu(progress, environment)
        rows = [("CPUs", f"{cpu[0]:.3f} kWh: {cpu[1]}")]
        rows.append(("GPUs", f"{gpu[0]:.3f} kWh: {gpu[1]}" if gpu[0] is not None else gpu[1]))
        kwh = cpu[0] + (gpu[0] or 0)
        without = ", without the GPUs" if gpu[0] is None else ""
    return [
        *rows,
        ("Energy", f"{kwh:.3f} kWh{without}"),
        ("CO2", f"{kwh * grams_per_kwh:.0f} g at {grams_per_kwh:g} g/kWh{without}"),
    ]


def _cpu(progress: Progress, environment: Environment) -> tuple[float, str]:
    if progress.cpu_s:
        seconds = progress.cpu_s * environment.processes
        source = f"{seconds / 3600:.2f} hours of CPU threads as counted, at {WATTS_PER_THREAD:g} W each, an estimate"
    else:
        seconds = progress.spent_s * environment.threads * environment.processes
        source = f"all {environment.threads * environment.processes} threads, at {WATTS_PER_THREAD:g} W, an estimate"
    return seconds * WATTS_PER_THREAD / _JOULES, source


def _gpu(progress: Progress, environment: Environment) -> tuple[float | None, str]:
    """kWh, None where nothing is known, and the source."""
    if not environment.gpus:
        return 0.0, "none was used"
    # what was counted and recorded is one machine's; all have a process for each GPU
    machines = environment.processes / len(environment.gpus)
    if progress.gpu_joules:
        return progress.gpu_joules * machines / _JOULES, "as the GPUs themselves counted it (NVML)"
    limit, source = environment.gpu_watts, "the limit of their power"
    if not limit:
        names = ", ".join(dict.fromkeys(environment.gpus))
        limit, source = tdp_watts(environment.gpus), f"TDP of {names}"
        if limit is None:
            return None, f"unknown: neither NVML nor a table of TDP tells the power of {names}; give --watts"
    watts = limit * machines
    return watts * progress.spent_s / _JOULES, f"{source}, {watts:.0f} W, all the time: too much"
