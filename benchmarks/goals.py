"""The goals of the benchmarks, each with its limit."""

from dataclasses import dataclass
from typing import Literal

from .harness import Figure


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit for a measured figure.

    Attributes:
        key: the key of the figure.
        work: what is measured.
        compared_with: what it is compared with.
        bound: whether the limit is a maximum or a minimum.
        limit: the limit.
        digits: the figure's digits after the decimal point.
    """

    key: str
    work: str
    compared_with: str
    bound: Literal["≤", "≥"]
    limit: float
    digits: int = 2

    def met(self, figure: Figure) -> bool:
        """Return whether the median is within the limit."""
        return figure.value >= self.limit if self.bound == "≥" else figure.value <= self.limit


_CALLS = "list page, show, status batch; 1, 16, 64 in flight; plain, TLS"
_POLL = "100,000 numbers polled, 20 ms a request, 16 in flight"
_WALK = "200 pages of 20 ms"
_LIVE = "first states of v22 delivered"
_MILLION = "a million items walked"

GOALS: tuple[Goal, ...] = (
    Goal("calls.naive", f"{_CALLS}: CPU, mean", "aiohttp + msgspec", "≤", 1.00),
    Goal("calls.naive.worst", "the same: the worst cell", "aiohttp + msgspec", "≤", 1.08),
    Goal("calls.buffers", "the same: CPU, mean", "aiohttp + msgspec, 64 KiB buffers", "≤", 1.00),
    Goal("calls.careful", "the same: CPU, mean", "the same, careful", "≤", 0.72),
    Goal("calls.httpx.1", "the same, 1 in flight", "httpx + pydantic", "≤", 0.17, 3),
    Goal("calls.httpx.16", "the same, 16 in flight", "httpx + pydantic", "≤", 0.08, 3),
    Goal("calls.httpx.64", "the same, 64 in flight", "httpx + pydantic", "≤", 0.08, 3),
    Goal("calls.raw", "the same: CPU, mean", "hand-written protocol", "≤", 2.6),
    Goal("generations", "v22 show; 1, 16, 64 in flight: CPU, mean", "classic show", "≤", 1.05, 3),
    Goal("store", "show with a token store; 1, 16, 64 in flight: CPU", "without", "≤", 1.02, 3),
    Goal("store.uses", "the same: uses of the store", "the login", "≤", 0, 0),
    Goal("poll.ideal", f"{_POLL}: wall", "20 ms a request, shared by 16", "≤", 1.06, 3),
    Goal("poll.gather", "the same: CPU", "gather + semaphore, same batches", "≤", 1.0),
    Goal("poll.tokens.wall", "the same with tokens of 1 second: wall", "a fixed token", "≤", 1.03),
    Goal("poll.tokens.cpu", "the same with tokens of 1 second: CPU", "a fixed token", "≤", 1.03),
    Goal("poll.waits", "the same: calls that waited for a token", "steady state", "≤", 0, 0),
    Goal("live.few", f"2,000 {_LIVE}: s", "the start of the loop", "≤", 1.0),
    Goal("live.many", f"20,000 {_LIVE}: s", "the start of the loop", "≤", 10, 1),
    Goal("live.requests", "the same: requests", "the listing and the login", "≤", 0, 0),
    Goal("live.latency", "a change on v22 is delivered: ms", "the simulator's set_status", "≤", 5),
    Goal("live.rest", "20,000 followed at rest: CPU", "polled every 5 s", "≤", 0.1, 3),
    Goal("walk.3", f"{_WALK}, prefetch 3: times as fast", "prefetch 0", "≥", 3.6),
    Goal("walk.7", f"{_WALK}, prefetch 7: times as fast", "prefetch 0", "≥", 6.6),
    Goal("walk.15", f"{_WALK}, prefetch 15: times as fast", "prefetch 0", "≥", 11.5),
    Goal("memory.100", f"{_MILLION}, pages of 100: MiB more", "the first page", "≤", 0.5),
    Goal("memory.1000", f"{_MILLION}, pages of 1,000: MiB more", "the first page", "≤", 1.5),
    Goal("memory.flat", "the same: MiB more, the worse of both", "a tenth of the way", "≤", 0.25),
    Goal("walk.item", "an item of a walk", "a bare async generator", "≤", 1.15),
    Goal("decode", "decoding", "a bare msgspec Decoder", "≤", 1.05, 3),
    Goal("starts", "15 fresh starts, plain HTTP: the slowest", "the fastest", "≤", 1.15),
    Goal("import", "import: CPU, ms more", "import aiohttp, msgspec", "≤", 40, 0),
)
