"""What this process holds: memory, file descriptors; sampled, and judged by its slope."""

import asyncio
import ctypes
import gc
import os
import statistics
import sys
from array import array
from bisect import bisect
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_EVERY = 1.0  # seconds between two samples
_WARM_UP = 15.0  # seconds, at most a third of the run, until all that is kept has been made once
_MIB = 1024 * 1024
_LIBC = ctypes.CDLL(None)
_PAGE = os.sysconf("SC_PAGE_SIZE")
# What the measure itself can't tell from nothing: arenas that fill up, buffers of the moment.
_LEAST_RSS = 8 * _MIB
_LEAST_BLOCKS = 5_000
_SIGMAS = 3.0
_LONG_ENOUGH = 20.0  # seconds; what fills up once looks like a leak to a shorter look


class Sample(NamedTuple):
    """What was held at a time, in seconds from the first sample."""

    at: float
    rss: int
    blocks: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through samples.

    Attributes:
        growth: by how much it rises from the first sample to the last.
        noise: how far samples lie from it: the standard deviation.
        seconds: from the first sample to the last.
        allowed: the growth that is within noise.
    """

    growth: float
    noise: float
    seconds: float
    allowed: float

    @classmethod
    def of(cls, times: Sequence[float], values: Sequence[float], least: float) -> "Trend":
        """Lay the line of least squares."""
        line = statistics.linear_regression(times, values)
        rest = [
            value - line.slope * at - line.intercept
            for at, value in zip(times, values, strict=True)
        ]
        noise = statistics.pstdev(rest)
        seconds = times[-1] - times[0]
        return cls(line.slope * seconds, noise, seconds, max(least, _SIGMAS * noise))

    @property
    def flat(self) -> bool:
        """Whether it rises by no more than the noise, as far as so few samples can tell."""
        return self.growth <= self.allowed or self.seconds < _LONG_ENOUGH


class Meter:
    """Takes samples until cancelled; they are kept in arrays, lest they be what grows.

    Attributes:
        latest: the latest sample.
        most_descriptors: the most file descriptors of any sample.
    """

    def __init__(self) -> None:
        self.latest = Sample(0.0, 0, 0, 0)
        self.most_descriptors = 0
        self._times, self._rss, self._blocks = array("d"), array("d"), array("d")

    async def go_on(self) -> None:
        """Sample again and again."""
        clock = asyncio.get_running_loop().time
        start = clock()
        while True:
            settle()
            held = Sample(
                clock() - start, _resident(), sys.getallocatedblocks(), open_descriptors()
            )
            self.latest = held
            self.most_descriptors = max(self.most_descriptors, held.descriptors)
            self._times.append(held.at)
            self._rss.append(held.rss)
            self._blocks.append(held.blocks)
            await asyncio.sleep(_EVERY)

    def trends(self) -> tuple[Trend, Trend]:
        """Answer how resident memory, in bytes, and Python's allocated blocks developed."""
        warm = bisect(self._times, min(_WARM_UP, self.latest.at / 3))
        times = self._times[warm:]
        return (
            Trend.of(times, self._rss[warm:], _LEAST_RSS),
            Trend.of(times, self._blocks[warm:], _LEAST_BLOCKS),
        )


def open_descriptors() -> int:
    """Count the open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd")) - 1  # but for the one that lists them


def settle() -> None:
    """Collect what is garbage, and give back to the kernel what is free."""
    gc.collect()
    with suppress(AttributeError):  # glibc's alone
        _LIBC.malloc_trim(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
