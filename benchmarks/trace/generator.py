"""Makes a trace of the shape that was published of Azure Functions in 2019, from a seed.

Rates, triggers, durations and memory follow the distributions of "Serverless in the Wild" (Shahrad et al., USENIX ATC
2020, figures 3 and 5 to 8). Used by the benchmark of keep-alive and by its test.
"""

import itertools
import math
import random

from benchmarks.trace.azure2019 import MINUTES, Function

# Invocations of a function in a day, by the share of functions that have fewer (figure 5): 45 % are called at most once
# an hour, 81 % at most once a minute.
_RATES = ((0.0, 1.0), (0.20, 4.0), (0.45, 24.0), (0.81, 1440.0), (0.95, 14_400.0), (1.0, 60_000.0))
# Timers' periods in minutes; they have the shares that are left of those that come close to a function's rate.
_PERIODS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440)
# Of functions: called by a timer (figure 3), evenly by chance, or in crowds (figure 6).
_TIMERS, _BY_CHANCE = 0.30, 0.45
# Log-normal, in seconds (figure 7).
_DURATION_MU, _DURATION_SIGMA, _DURATION_S_MAX = -0.38, 2.36, 300.0
# Burr, in MB (figure 8).
_MEMORY_C, _MEMORY_K, _MEMORY_SCALE = 11.652, 0.221, 107.083
_MEMORY_MB_MAX = 1536.0
# Calls by people follow the day (figure 4): half of the traffic is constant.
_DAILY = 0.5


def generate(functions: int, days: int, seed: int) -> list[Function]:
    return generate_minutes(functions, days * MINUTES, seed)


def generate_minutes(functions: int, minutes: int, seed: int) -> list[Function]:
    """The beginning of a day."""
    chance = random.Random(seed)
    return [_function(chance, index, minutes) for index in range(functions)]


def _function(chance: random.Random, index: int, minutes: int) -> Function:
    rate = _rate(chance.random()) / MINUTES
    kind = chance.random()
    if kind < _TIMERS:
        trigger, counts = "timer", _timer(chance, rate, minutes)
    elif kind < _TIMERS + _BY_CHANCE:
        trigger, counts = "http", _poisson(chance, rate, minutes)
    else:
        trigger, counts = "queue", _crowds(chance, rate, minutes)
    return Function(
        owner=f"o{index // 4:08x}",
        app=f"a{index // 2:08x}",
        name=f"f{index:08x}",
        trigger=trigger,
        per_minute=tuple(counts),
        duration_s=min(chance.lognormvariate(_DURATION_MU, _DURATION_SIGMA), _DURATION_S_MAX),
        memory_mb=_memory_mb(chance.random()),
    )


def _rate(share: float) -> float:
    """Straight between the points, on a logarithmic scale."""
    for (below, low), (above, high) in itertools.pairwise(_RATES):
        if share <= above:
            part = (share - below) / (above - below)
            return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
    return _RATES[-1][1]


def _memory_mb(share: float) -> float:
    value = _MEMORY_SCALE * ((1 - share) ** (-1 / _MEMORY_K) - 1) ** (1 / _MEMORY_C)
    return min(value, _MEMORY_MB_MAX)


def _timer(chance: random.Random, rate: float, minutes: int) -> list[int]:
    """Once in each period, or several times a minute."""
    period = min(_PERIODS, key=lambda each: abs(math.log(each * rate)))
    first = chance.randrange(period)
    at_once = max(round(rate), 1)
    return [at_once if minute % period == first else 0 for minute in range(minutes)]


def _poisson(chance: random.Random, rate: float, minutes: int) -> list[int]:
    return [_draw(chance, rate * _of_day(minute)) for minute in range(minutes)]


def _crowds(chance: random.Random, rate: float, minutes: int) -> list[int]:
    """Sessions of many calls, and nothing between them: the times between calls vary far more than by chance."""
    counts = [0] * minutes
    size = max(2.0, min(math.exp(chance.gauss(2.0, 0.8)), 50.0))
    minute = chance.expovariate(rate / size)
    while minute < minutes:
        at = minute
        for _ in range(max(1, round(chance.expovariate(1 / size)))):
            if at < minutes:
                counts[int(at)] += 1
            at += chance.expovariate(1.0)
        minute += chance.expovariate(rate / size)
    return counts


def _of_day(minute: int) -> float:
    return 1 + _DAILY * math.sin(2 * math.pi * minute / MINUTES)


def _draw(chance: random.Random, mean: float) -> int:
    """A Poisson number; beyond 30 the normal distribution is as good."""
    if mean > 30:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    product, count, end = chance.random(), 0, math.exp(-mean)
    while product > end:
        product *= chance.random()
        count += 1
    return count
