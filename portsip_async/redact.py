"""The hiding of secrets: which names carry one, and how a mapping, a URL or a text is scrubbed.

Pure: everything here takes values and returns values. Two nets lie one over the other. What is
known to be secret in a call (its token, its password) is replaced wherever it stands; what looks
like a secret by its name is replaced whether or not its value is known.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from json import dumps
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"

# "auth" is the password in the query of a call; the rest are the API's names and HTTP's.
_SECRET_WORDS = ("password", "passwd", "token", "secret", "authorization", "cookie")
_SECRET_NAMES = frozenset({"auth", "pin", "voicemail_pin"})

_QUERY = re.compile(r"(\bhttps?://[^\s'\"<>?#]*|(?<![\w/])/[\w./%-]+)\?[^\s'\"<>]*", re.IGNORECASE)
_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE)
_NAMED = re.compile(
    r"""(?P<name>[\w-]*(?:password|passwd|token|secret|authorization|cookie)[\w-]*|\bauth|\b(?:\w+_)?pin)
        (?P<between>\\?["']?\s*[:=]\s*)
        (?P<value>\\?"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?:Bearer\s+|Basic\s+)?[^\s,;&}\])'"]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def is_secret(name: str) -> bool:
    """Tell whether a field, parameter or header of this name carries a secret."""
    plain = name.lower().replace("-", "_")
    return (
        plain in _SECRET_NAMES
        or plain.endswith("_pin")
        or any(word in plain for word in _SECRET_WORDS)
    )


def scrub(value: Any) -> Any:
    """Copy nested mappings and sequences with the value of every secret name hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(key, str) and is_secret(key) and item else scrub(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def secrets_in(value: Any) -> list[str]:
    """List the values that stand under a secret name anywhere in nested mappings and sequences."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str) and is_secret(key) and isinstance(item, str | int | float):
                found.append(str(item))
            else:
                found += secrets_in(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        for item in value:
            found += secrets_in(item)
    return found


def scrub_url(url: str) -> str:
    """Cut the query, the fragment and any user information out of a URL."""
    return _USER_INFO.sub(r"\1", url.split("#", 1)[0].split("?", 1)[0])


def scrub_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide the given secrets, the queries of URLs, and what stands behind a secret name.

    Args:
        text: any text, for instance that of a foreign exception.
        secrets: values to hide wherever they stand, also percent-encoded or escaped for JSON.
    """
    forms = {
        form
        for secret in secrets
        if secret
        for form in (
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            dumps(secret)[1:-1],
            dumps(secret, ensure_ascii=False)[1:-1],
            repr(secret)[1:-1],
        )
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _USER_INFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?" + HIDDEN, text)
    return _NAMED.sub(lambda found: f"{found['name']}{found['between']}{HIDDEN}", text)
