"""What this process holds: memory, file descriptors and tasks."""

import asyncio
import ctypes
import gc
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIBC = ctypes.CDLL(None)


class Sample(NamedTuple):
    """What the process holds at one time; `blocks` are those of Python's allocator."""

    rss: int
    blocks: int
    descriptors: int
    tasks: int


def sample() -> Sample:
    """Free garbage, give free memory back to the kernel, and measure."""
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):  # glibc only
        _LIBC.malloc_trim(0)
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    descriptors = len(os.listdir("/proc/self/fd")) - 1  # listing needs one itself
    return Sample(rss, sys.getallocatedblocks(), descriptors, len(asyncio.all_tasks()))


def growth(values: Sequence[float]) -> float:
    """Return the growth from the middle third to the last third, by their medians.

    The first third is left out: caches and pools fill up there.
    """
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[-2 * third : -third])
