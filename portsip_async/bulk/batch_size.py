"""How many numbers a status request should hold, learned from what the PBX does with them.

The size starts at 100. While the PBX replies, one larger batch is tried at a time: double the size,
at most 1,000. If a batch fails and its parts succeed, it was too large. Then sizes between the
largest one that worked and the smallest one that failed are tried, until the two are close. The
size that failed is tried again much later, since a timeout may have had another reason.

Pure: results go in, sizes come out. All polls and watches of a client share one learner.
"""

from typing import Final

DEFAULT_SIZE: Final = 100  # as in the vendor's samples
LARGEST_SIZE: Final = 1_000
# Batches that must succeed before a size that failed is tried again; doubled each time.
_RETRY_AFTER: Final = 256


class BatchSizeLearner:
    """Learns the largest batch that the PBX takes.

    Attributes:
        size: how many numbers a batch should hold.
    """

    def __init__(self) -> None:
        self.size: int = DEFAULT_SIZE
        self._largest_good = 0
        self._smallest_bad = LARGEST_SIZE + 1
        self._successes = 0  # since the smallest bad size was found or tried again
        self._retry_after = _RETRY_AFTER
        self._trials = 0  # batches in flight that are larger than `size`
        self._descents = 0  # batches in flight that were split after a timeout
        self._silent = False  # whether even a single number got no reply lately

    def next_size(self) -> int:
        """Return the size of the next batch, which may be a trial of a larger one."""
        # At `size` the PBX must work before more is tried. A batch is seldom quite full, since
        # no number is in it twice, so half of it proves enough.
        if self._trials or self._largest_good * 2 < self.size:
            return self.size
        if self._smallest_bad > LARGEST_SIZE:
            return min(self.size * 2, LARGEST_SIZE)
        if self._successes >= self._retry_after:
            return self._smallest_bad
        middle = min(self.size * 2, (self.size + self._smallest_bad) // 2)
        return middle if middle - self.size >= max(1, self.size // 8) else self.size

    def start_trial(self, size: int) -> bool:
        """Note that a batch is sent; return whether it is a trial of a larger size."""
        is_trial = size > self.size
        self._trials += is_trial
        return is_trial

    def end_trial(self) -> None:
        """Note that a trial ended, in whatever way."""
        self._trials -= 1

    def start_descent(self) -> bool:
        """Return whether a batch that timed out may be split to look for a size that works.

        In an outage every batch times out. So once a single number got no reply either, only one
        batch at a time is split, until the PBX replies again.
        """
        if self._silent and self._descents:
            return False
        self._descents += 1
        return True

    def end_descent(self, *, in_vain: bool) -> None:
        """Note that such a batch ended; in vain if the PBX replied to no part of it."""
        self._descents -= 1
        self._silent = in_vain

    def succeeded(self, size: int) -> None:
        """Note that the PBX replied to a batch."""
        self._silent = False
        self._successes += 1
        self._largest_good = max(self._largest_good, size)
        self.size = max(self.size, size)
        if size >= self._smallest_bad:
            self._smallest_bad = LARGEST_SIZE + 1

    def was_too_large(self, size: int, *, good: int) -> None:
        """Note that a batch failed for its size.

        Args:
            size: how many numbers it held.
            good: the largest part of it that the PBX replied to.
        """
        if size == self._smallest_bad and self._successes >= self._retry_after:
            self._retry_after *= 2
        self._successes = 0
        self._smallest_bad = min(self._smallest_bad, size)
        if self._largest_good >= size:
            self._largest_good = good
        if self.size >= size:
            self.size = self._largest_good
