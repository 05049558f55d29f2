"""A base class for objects that refuse to be copied and pickled."""

from typing import NoReturn, SupportsIndex


class NotCopyable:
    """Refuse copies of what holds connections, tasks and a token.

    A shallow copy would work through the original, and a deep one would be half of it.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse copy, deepcopy and pickle, all of which ask here.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"{type(self).__name__} can't be copied or pickled: it holds connections and a token. "
            "Make another PortSIPClient, or use with_options() for other options"
        )
