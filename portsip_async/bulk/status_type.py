"""The type of a status, which differs between generations of the API."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # With the default, `StatusResult` alone is a complete type for type checkers.
    S = TypeVar("S", default=Any)
else:
    from typing import TypeVar

    S = TypeVar("S")
