"""What exists once: an object that refuses to be copied and pickled."""

from typing import NoReturn, SupportsIndex


class Single:
    """Holds on to connections, tasks and a token, none of which a copy could have.

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
