"""The hiding of secrets: which names carry one, and how a mapping, a URL or a text is scrubbed.

Pure: everything here takes values and returns values. Two nets lie one over the other. What is
known to be secret in a call (its token, its password) is replaced wherever it stands; what looks
like a secret by its name is replaced whether or not its value is known.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from json import dumps
from typing import Any
from urllib.parse import quote

HIDDEN = "***"

# "auth" is the password in the query of a call; the rest are the API's names and HTTP's.
_SECRET_WORDS = ("password", "passwd", "token", "secret", "authorization", "cookie")
_SECRET_NAMES = frozenset({"auth", "pin", "voicemail_pin"})

# Each pattern starts at the edge of a word and takes words whole, so that a long text without a
# secret costs time in proportion to its length.
_USER_INFO = re.compile(r"(?<![\w.+-])([a-z][a-z0-9+.-]*+://)[^\s/?'\"]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"(?<![\w/.%-])(https?://[^\s'\"<>?#]*+|/[\w./%-]++)\?[^\s'\"<>]*", re.IGNORECASE
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n'\"]+", re.IGNORECASE
)
# A text may be cut short within its quotes, and quotes may be escaped once over.
_NAMED = re.compile(
    r"""(?<![\w-])
        (?=[\w-]*(?:password|passwd|token|secret|authorization|cookie)
          |(?:(?:[\w-]*-)?auth|(?:[\w-]*[_-])?pin)(?![\w-]))
        (?P<name>[\w-]++)
        (?P<between>(?:\\?["'])?\s*[:=]\s*)
        (?P<value>b?\\"(?:[^"\\]|\\[^"])*+(?:\\"|$)
                 |b?"(?:[^"\\]|\\.)*+(?:"|\\?$)
                 |b?'(?:[^'\\]|\\.)*+(?:'|\\?$)
                 |(?:Bearer\s+|Basic\s+)?[^\s,;&}\])'"]+)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
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
            key: HIDDEN
            if isinstance(key, str) and is_secret(key) and item is not None
            else scrub(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def secrets_in(value: Any) -> list[str]:
    """List the values that stand under a secret name anywhere in nested mappings and sequences."""
    if isinstance(value, Mapping):
        return [
            secret
            for key, item in value.items()
            for secret in (
                _leaves(item) if isinstance(key, str) and is_secret(key) else secrets_in(item)
            )
        ]
    return [secret for item in _items(value) for secret in secrets_in(item)]


def scrub_url(url: str) -> str:
    """Cut the query, the fragment and any user information out of a URL."""
    return _USER_INFO.sub(r"\1", url).split("#", 1)[0].split("?", 1)[0]


def scrub_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide the given secrets, the queries of URLs, and what stands behind a secret name.

    Args:
        text: any text, for instance that of a foreign exception.
        secrets: values to hide wherever they stand, also percent-encoded or escaped for JSON.
    """
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _USER_INFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?" + HIDDEN, text)
    text = _HEADER.sub(r"\1\2" + HIDDEN, text)
    return _NAMED.sub(r"\g<name>\g<between>" + HIDDEN, text)


def _forms(secret: str) -> set[str]:
    quoted = {
        quote(secret, safe=safe, errors="surrogatepass") for safe in ("", "/", "/?:@!$'()*,;+")
    }
    quoted |= {form.replace("%20", "+") for form in quoted}
    quoted |= {re.sub("%..", lambda code: code[0].lower(), form) for form in quoted}
    return quoted | {
        secret,
        escape(secret),
        dumps(secret)[1:-1],
        dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(secret.encode(errors="surrogatepass"))[2:-1],
    }


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return [str(value)]
    return [leaf for item in _items(value) for leaf in _leaves(item)]


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
