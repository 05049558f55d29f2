"""An operation of an HTTP API as data: method, path, parameters, token, reply type, safety.

Generations of the API differ in these rows. The core that sends them is the same.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from difflib import get_close_matches
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
    overload,
)

from ..arguments import check_choice, check_strs, check_type, is_visible, plain_text
from ..errors import ConfigurationError, ErrorScheme
from .safety import Safety

T_co = TypeVar("T_co", covariant=True)

TokenPlace = Literal["query", "body", "header", "bearer", "none"]
ParameterPlace = Literal["query", "json", "form", "multipart", "binary"]

_PATH_ARGUMENT: Final = re.compile(r"{(\w+)}")
_ADOPTED_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class PageScheme:
    """How the pages of a list are asked for: by number and size, or by skip and top.

    Attributes:
        key: the field that identifies an item.
        number: the parameter for the page's number, counted from 1.
        size: the parameter for the page size.
        skip: the parameter for how many items come before those to send. None if pages are
            numbered; otherwise `number` and `size` are not used.
        top: the parameter for how many items to send at most; None if pages are numbered.

    Raises:
        ValueError: only one of `skip` and `top` was passed.
    """

    key: str
    number: str = "pagination"
    size: str = "pagesize"
    _: KW_ONLY
    skip: str | None = None
    top: str | None = None

    def __post_init__(self) -> None:
        if (self.skip is None) != (self.top is None):
            only = "top" if self.skip is None else "skip"
            raise ValueError(f"skip and top must be passed together, got only {only}")


@dataclass(frozen=True, slots=True)
class Echo:
    """Where a reply repeats what the request asked for, perhaps as a JSON number.

    Attributes:
        parameter: the parameter that is repeated: a text or a list of texts.
        field: the field that repeats it, in the reply or in each of its rows.
        rows: the field that holds the rows; None if the reply itself repeats the parameter.
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
        path: the path below the client's base URL, with a leading slash. A name in braces, as in
            ``/users/{id}``, is a parameter, which is percent-encoded into the path.
        path_arguments: the names in braces.
        reply: the type of the reply's body; None if the body is empty or carries no data, and bytes
            for a body that is not JSON, such as a file.
        safety: "safe" changes nothing, "idempotent" may be repeated, "unsafe" acts each time,
            "once" must reach the PBX at most once, even if the PBX refuses it.
        token: where the token goes: "query", "body" (of JSON), "header" (``access_token: ...``),
            "bearer" (``Authorization: Bearer ...``), or "none" for an operation without one.
        parameters: how the arguments are sent, except for those in the path and in headers:
            "query", "json", "form" (URL-encoded), "multipart", or "binary": the body is the bytes
            of the argument ``file``, and all others are in the query. A POST without any body has
            "query".
        takes: the types of the parameters by name; the type of an optional one includes None. None
            if they are not described, as in rows of an application.
        pages: how a list numbers its pages; None if the operation is not a list.
        removes: whether it removes something. If so, "not found" after an attempt that may have
            acted counts as success.
        echo: where the reply repeats what was asked for; None if it does not.
        errors: maps codes and statuses to error classes; None: as the client's API does.
        headers: parameters that are sent as request headers, with the headers' names.
        reply_headers: fields of the reply that come from headers, with the headers' names. The
            body may report an error, and is not read otherwise.
        secrets: parameters whose values are secrets, besides those with names such as "password".
        rename: parameters that have another name in requests, with that name.
        is_default_token: whether `token` was chosen by the method.
    """

    name: str
    method: str
    path: str
    reply: type[T_co] | None
    safety: Safety
    token: TokenPlace
    parameters: ParameterPlace
    takes: Mapping[str, object] | None
    pages: PageScheme | None
    removes: bool
    echo: Echo | None
    errors: ErrorScheme | None
    headers: Mapping[str, str]
    reply_headers: Mapping[str, str]
    secrets: frozenset[str]
    rename: Mapping[str, str]
    path_arguments: tuple[str, ...]
    is_default_token: bool

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
        takes: Mapping[str, object] | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme | None = None,
        headers: Mapping[str, str] | None = None,
        reply_headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
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
        takes: Mapping[str, object] | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme | None = None,
        headers: Mapping[str, str] | None = None,
        reply_headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
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
        takes: Mapping[str, object] | None = None,
        pages: PageScheme | None = None,
        removes: bool = False,
        echo: Echo | None = None,
        errors: ErrorScheme | None = None,
        headers: Mapping[str, str] | None = None,
        reply_headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """Describe an operation.

        The method decides about `safety`, `token` and `parameters` if they are None. A GET is safe,
        with token and parameters in the query. Any other method is unsafe, with both in a JSON
        body. If the parameters are not sent as JSON, the token is in the query. A client whose API
        takes bearer tokens sends one instead, if `token` is None.

        Raises:
            TypeError: an argument of the wrong type, such as a name that is not a str.
            ValueError: an unknown `safety`, `token` or `parameters`, an empty name, or a path
                without a leading slash or with a stray brace.
        """
        for label, value in (("name", name), ("method", method), ("path", path)):
            check_type(f"Endpoint: {label}", value, str)
        mappings = {"headers": headers, "reply_headers": reply_headers, "rename": rename}
        for label, mapping in {**mappings, "takes": takes}.items():
            check_type(f"Endpoint: {label}", mapping, Mapping, None)
        check_type("Endpoint: pages", pages, PageScheme, None)
        check_type("Endpoint: errors", errors, ErrorScheme, None)
        # Fill in what is None, by the method.
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
            "takes": takes,
            "pages": pages,
            "removes": removes,
            "echo": echo,
            "errors": errors,
            "headers": dict(headers or {}),
            "reply_headers": dict(reply_headers or {}),
            "secrets": frozenset(check_strs("Endpoint: secrets", secrets, 'secrets=["pin"]')),
            "rename": dict(rename or {}),
            "path_arguments": tuple(_PATH_ARGUMENT.findall(path)),
            "is_default_token": token is None,
        }
        for field in _ALLOWED:
            if isinstance(values[field], str):
                values[field] = plain_text(values[field])
        for field, value in values.items():
            object.__setattr__(self, field, value)  # the class is frozen
        # Names and paths are shown in errors and logs, and become part of URLs.
        if not name:
            raise ValueError("Endpoint: name must not be empty")
        if not method.isalpha() or not method.isascii():
            raise ValueError(f"{name}: the method must be an HTTP method, got {method!r}")
        if not path.startswith("/") or not is_visible(path) or "?" in path or "#" in path:
            raise ValueError(
                f"{name}: the path must begin with a slash and have no query, got {path!a}"
            )
        if re.search("[{}]", _PATH_ARGUMENT.sub("", path)):
            raise ValueError(f"{name}: braces in the path must hold a name, got {path!a}")
        for field, allowed in _ALLOWED.items():
            check_choice(f"{name}: {field}", values[field], *allowed)
        if self.token == "body" and self.parameters != "json":
            raise ValueError(
                f"{name}: parameters must be sent as JSON if the token is in the body, "
                f"got {self.parameters}"
            )

    def replace(self, **changes: object) -> "Endpoint[object]":
        """Return a copy with some attributes changed."""
        values: dict[str, Any] = {field: getattr(self, field) for field in self.__slots__}
        del values["path_arguments"]
        if values.pop("is_default_token"):
            values["token"] = None
        values |= changes
        return Endpoint(values.pop("name"), values.pop("method"), values.pop("path"), **values)


_ALLOWED: dict[str, tuple[str, ...]] = {
    "safety": get_args(Safety),
    "token": get_args(TokenPlace),
    "parameters": get_args(ParameterPlace),
}


class EndpointOverride(TypedDict, total=False):
    """The attributes of a row that a client may override."""

    method: str
    path: str
    token: TokenPlace
    parameters: ParameterPlace
    safety: Safety
    rename: Mapping[str, str]


class EndpointTable:
    """The rows of one client: those of its API, with the client's overrides."""

    def __init__(
        self,
        rows: Mapping[str, Endpoint[Any]],
        overrides: Mapping[str, EndpointOverride] | None = None,
        *,
        token: TokenPlace | None = None,
    ) -> None:
        """Apply the overrides.

        Args:
            rows: the API's operations by name.
            overrides: by name, the attributes to change; None: nothing.
            token: where the token goes in an application's own endpoint that does not say it; None:
                where the method suggests.

        Raises:
            ConfigurationError: an unknown row or attribute, or a value that no endpoint can have.
        """
        if not isinstance(overrides or {}, Mapping):
            raise ConfigurationError(
                f"endpoints must be a mapping of row names, got {type(overrides).__name__}"
            )
        self._overridden = {
            name: _override(rows.get(name), name, override, rows)
            for name, override in (overrides or {}).items()
        }
        self._untyped: dict[str, Endpoint[dict[str, Any]]] = {}
        self._token = token
        self._adopted: dict[Endpoint[Any], Endpoint[Any]] = {}

    def __getitem__(self, row: Endpoint[T_co]) -> Endpoint[T_co]:
        return self._overridden.get(row.name, row)

    def adopt(self, endpoint: Endpoint[T_co]) -> Endpoint[T_co]:
        """Return an application's endpoint as this client sends it."""
        row = self[endpoint]
        if self._token is None or not row.is_default_token or row.token == self._token:
            return row
        # Kept, because a client prepares each endpoint once, by its identity.
        if row not in self._adopted:
            if len(self._adopted) >= _ADOPTED_KEPT:
                self._adopted.clear()
            self._adopted[row] = row.replace(token=self._token)
        return cast("Endpoint[T_co]", self._adopted[row])

    def untyped(self, row: Endpoint[Any]) -> Endpoint[dict[str, Any]]:
        """Return the client's version of a row, with a plain object as its reply."""
        if row.name not in self._untyped:
            untyped = self[row].replace(reply=dict[str, Any])
            self._untyped[row.name] = cast(Endpoint[dict[str, Any]], untyped)
        return self._untyped[row.name]


def _override(
    row: Endpoint[Any] | None, name: str, override: EndpointOverride, known: Iterable[str]
) -> Endpoint[Any]:
    if row is None:
        nearest = get_close_matches(str(name), [*map(str, known)], n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigurationError(f"endpoints: there is no operation named {name!r}{hint}")
    if not isinstance(override, Mapping):
        raise ConfigurationError(
            f"endpoints: the override of {name} must be a mapping, got {type(override).__name__}"
        )
    unknown = set(override) - set(get_type_hints(EndpointOverride))
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        known = ", ".join(get_type_hints(EndpointOverride))
        raise ConfigurationError(f"endpoints: {name} must override only {known}, got {names}")
    method = override.get("method", row.method)
    # A new method moves the token and the parameters, unless they are overridden too. But a token
    # in a header stays there, and parameters that are not JSON stay if no GET is involved.
    moves = str(method).upper() != row.method
    if "GET" not in (row.method, str(method).upper()) and row.parameters != "json":
        moves = False
    token = row.token if not moves or row.token in ("none", "header", "bearer") else None
    try:
        changed = row.replace(
            method=method,
            path=override.get("path", row.path),
            safety=override.get("safety", row.safety),
            token=override.get("token", token),
            parameters=override.get("parameters", None if moves else row.parameters),
            rename=override.get("rename", row.rename),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"endpoints: {error}") from None
    if row.takes is not None:
        parameters = [changed.rename.get(parameter, parameter) for parameter in row.takes]
        for argument in changed.path_arguments:
            if argument not in parameters:
                raise ConfigurationError(
                    f"endpoints: {name} has no parameter {argument!r} for its path, only "
                    f"{', '.join(parameters) or 'none'}; rename= gives a parameter another name"
                )
    return changed
