"""What an operation of an HTTP API is, as data: method, path, places, reply type, safety.

Another generation of the API differs in these rows, not in the core that sends them.
"""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args, overload

from ..arguments import is_visible, plain_text
from ..errors import CLASSIC_ERRORS, ErrorScheme
from .safety import Safety

T_co = TypeVar("T_co", covariant=True)

TokenPlace = Literal["query", "body", "header", "bearer", "none"]
ParameterPlace = Literal["query", "json", "multipart"]


@dataclass(frozen=True, slots=True)
class PageScheme:
    """How an operation numbers its pages.

    Attributes:
        key: the field of an item that tells it from others.
        number: the parameter that takes the page's number, counted from 1.
        size: the parameter that takes how many items a page may hold.
    """

    key: str
    number: str = "pagination"
    size: str = "pagesize"


@dataclass(frozen=True, slots=True)
class Echo:
    """Where a reply repeats what the request asked for, perhaps as a JSON number.

    Attributes:
        parameter: the parameter that says what is asked for; a text, or a list of texts.
        field: the field that repeats it: of the reply, or of each of its rows.
        rows: the field that holds the rows; None where the reply itself repeats the parameter.
    """

    parameter: str
    field: str
    rows: str | None = None


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Endpoint(Generic[T_co]):
    """One operation of the API.

    Attributes:
        name: ``resource.coroutine``; shown in errors and logs.
        method: the HTTP method, in capitals.
        path: the path below the client's base URL, with a leading slash.
        reply: the type of the reply's body; None where no body is due.
        safety: "safe" changes nothing, "idempotent" may be repeated, "unsafe" acts each time.
        token: where the token goes: "query", "body" (of JSON), "header" (``access_token: ...``),
            "bearer" (``Authorization: Bearer ...``), or "none" for an operation without one.
        parameters: how the arguments are sent: "query", "json" or "multipart".
        pages: how a list numbers its pages; None for what is no list.
        removes: whether it removes something, so that "not found" after an attempt that may have
            acted means that it is done.
        echo: where the reply repeats what was asked for; None where it doesn't.
        errors: which codes and statuses become which errors.
    """

    name: str
    method: str
    path: str
    reply: type[T_co] | None
    safety: Safety
    token: TokenPlace
    parameters: ParameterPlace
    pages: PageScheme | None
    removes: bool
    echo: Echo | None
    errors: ErrorScheme

    @overload
    def __init__(
        self: "Endpoint[None]",
        name: str,
        method: str,
        path: str,
        *,
        reply: None = None,
        safety: Safety | None = None,
        token: TokenPlace | None = None,
        parameters: ParameterPlace | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme = CLASSIC_ERRORS,
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        *,
        reply: type[T_co],
        safety: Safety | None = None,
        token: TokenPlace | None = None,
        parameters: ParameterPlace | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme = CLASSIC_ERRORS,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        *,
        reply: type[object] | None = None,
        safety: Safety | None = None,
        token: TokenPlace | None = None,
        parameters: ParameterPlace | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme = CLASSIC_ERRORS,
    ) -> None:
        """Describe an operation.

        What is None follows the method: GET is safe, with token and parameters in the query;
        any other is unsafe, with both in a JSON body; where the parameters are not in JSON, the
        token is in the query.

        Raises:
            TypeError: a name, method or path that is no string.
            ValueError: an unknown place or safety, an empty name, or a path without its slash.
        """
        for told, given in (("name", name), ("method", method), ("path", path)):
            if not isinstance(given, str):
                raise TypeError(f"an endpoint's {told} is a string, not {type(given).__name__}")
        name, method, path = plain_text(name), plain_text(method).upper(), plain_text(path)
        reads = method == "GET"
        values: dict[str, Any] = {
            "name": name,
            "method": method,
            "path": path,
            "reply": reply,
            "safety": safety or ("safe" if reads else "unsafe"),
            "token": token or ("query" if reads or parameters not in (None, "json") else "body"),
            "parameters": parameters or ("query" if reads else "json"),
            "pages": pages,
            "removes": removes,
            "echo": echo,
            "errors": errors,
        }
        for field in _ALLOWED:
            if isinstance(values[field], str):
                values[field] = plain_text(values[field])
        for field, value in values.items():
            object.__setattr__(self, field, value)
        if not name:
            raise ValueError("an endpoint needs a name")
        if not method.isalpha() or not method.isascii():
            raise ValueError(f"{name}: {method!r} is no HTTP method")
        if not path.startswith("/") or not is_visible(path) or "?" in path or "#" in path:
            raise ValueError(f"{name}: a path starts with a slash and holds no query: {path!a}")
        for field, allowed in _ALLOWED.items():
            if values[field] not in allowed:
                raise ValueError(f"{name}: {field} is one of {', '.join(allowed)}")
        if self.token == "body" and self.parameters != "json":
            raise ValueError(f"{name}: a token in the body needs parameters in JSON")

    def replace(self, **changes: object) -> "Endpoint[object]":
        """Copy the endpoint with some of its attributes changed."""
        values: dict[str, Any] = {field: getattr(self, field) for field in self.__slots__}
        values |= changes
        named = values.pop("name"), values.pop("method"), values.pop("path")
        return Endpoint(*named, **values)


_ALLOWED: dict[str, tuple[str, ...]] = {
    "safety": get_args(Safety),
    "token": get_args(TokenPlace),
    "parameters": get_args(ParameterPlace),
}
