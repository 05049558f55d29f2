"""Hides secrets in mappings, URLs and texts.

There are two layers. The known secrets of a call (its token, its password) are replaced wherever
they occur as whole words. Values next to a secret's name are replaced even if they are not known.

A short secret such as "a" occurs in ordinary sentences, and replacing it would make them
unreadable. So a secret of fewer than six characters is replaced only if it stands by itself as a
value: in quotes or brackets, after ``=`` or ``:``, between tags, after a secret's name, or alone.

Pure functions: no I/O and no state.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from enum import Enum
from functools import cache
from html import escape
from json import dumps
from math import isfinite
from typing import Any, Self
from urllib.parse import quote

import msgspec
from msgspec import structs

HIDDEN = "***"

# Names of the API and of HTTP. "auth" is the password in the query of a call.
_SECRET_WORDS = ("password", "passwd", "token", "secret", "authorization", "cookie")
_SECRET_NAMES = frozenset({"auth", "pin", "voicemail_pin"})

# Each pattern starts at a word boundary and matches whole words. So a long text without secrets
# takes linear time.
_USER_INFO = re.compile(r"(?<![\w.+-])([a-z][a-z0-9+.-]*+://)[^\s/?'\"]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"(?<![\w/.%-])(https?://[^\s'\"<>?#]*+|/[\w./%-]++)\?[^\s'\"<>]*", re.IGNORECASE
)
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n'\"]+", re.IGNORECASE
)
# A quoted text. It may be cut off before the closing quote, and its quotes may be escaped.
_QUOTED = r"""b?\\"(?:[^"\\]|\\[^"])*+(?:\\"|$)
                 |b?"(?:[^"\\]|\\.)*+(?:"|\\?$)
                 |b?'(?:[^'\\]|\\.)*+(?:'|\\?$)"""
_NAMED = re.compile(
    rf"""(?<![\w-])
        (?=[\w-]*(?:password|passwd|token|secret|authorization|cookie)
          |(?:(?:[\w-]*-)?auth|(?:[\w-]*[_-])?pin)(?![\w-]))
        (?P<name>[\w-]++)
        (?P<between>(?:\\?["'])?\s*[:=]\s*)
        (?P<value>{_QUOTED}
                 |(?P<open>[\[{{])
                 |(?:Bearer\s+|Basic\s+)?[^\s,;&}}\])'"]+)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# The pieces of an array or an object, to find its end.
_PIECE = re.compile(
    rf"(?P<quoted>{_QUOTED})|(?P<open>[\[{{])|(?P<close>[\]}}])|[^\[\]{{}}\"'\\]++|.",
    re.VERBOSE | re.DOTALL,
)

_WORD_LENGTH = 6  # a secret of this length is hidden as a whole word
_SURE_LENGTH = 16  # a secret of this length is hidden inside words too
# A letter or a digit, and the boundaries of a word. The characters before a word may be an escape
# sequence, such as %2F or \n, that ends with a letter or digit.
_LETTER = r"[^\W_]"
_BEGINS = (
    rf"(?:(?<!{_LETTER})|(?<=%[0-9A-Fa-f]{{2}})|(?<=\\[abfnrtv0])|(?<=\\x[0-9A-Fa-f]{{2}})"
    r"|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\U[0-9A-Fa-f]{8}))"
)
_ENDS = rf"(?!{_LETTER})"
_GAP = r"[ \t\xa0]{0,8}"
_END = r"[.!?\u2026]{0,3}"  # the end of a sentence
_QUOTE = (
    r"""\\{0,2}["'`]|[\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb]"""
    r"|&quot;|&\#x27;|&\#39;|%22|%27"
)
_NAMED_BEFORE = rf"{_BEGINS}(?i:password|passwd|token|secret|auth|pin){_GAP}[ \t](?i:is[ \t])?"
# The contexts in which a short secret stands by itself: the text before it and after it.
_ALONE = (
    (_QUOTE, _QUOTE),
    (r"[(\[{<]", r"[)\]}>]"),
    (">", "<"),
    (rf"={_GAP}", rf"""[,;&)}}\]>"']|{_END}(?:\s|$)"""),
    (rf":{_GAP}", rf"{_GAP}(?:[,;&)}}\]>\r\n]|{_END}\s*$)"),
    (rf"(?m:^){_GAP}", rf"{_END}{_GAP}\r?(?m:$)"),
    (_NAMED_BEFORE, rf"[,;)]|{_END}\s*$"),
)
# A secret with digits or punctuation is not an ordinary word, so any text may follow it.
_AFTER_NAME = (_NAMED_BEFORE, _ENDS)


def is_secret(name: str) -> bool:
    """Check whether a field, parameter or header of this name carries a secret."""
    plain = name.lower().replace("-", "_")
    if plain.endswith("_endpoint"):
        return False  # an address, such as that of a login page
    return (
        plain in _SECRET_NAMES
        or plain.endswith("_pin")
        or any(word in plain for word in _SECRET_WORDS)
    )


def _is_hidden(name: object, value: object) -> bool:
    """Check whether to hide the value of a name. Whether a pin is needed is not a secret."""
    return _can_be_secret(value) and isinstance(name, str) and is_secret(name)


def _can_be_secret(value: object) -> bool:
    return value is not None and not isinstance(value, bool)


def scrub(value: Any) -> Any:
    """Return a copy of nested mappings and sequences with the values of secret names hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if _is_hidden(key, item) else scrub(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def scrub_json(value: Any, secrets: Sequence[str]) -> Any:
    """Return a copy of a parsed JSON value without secrets: the given ones, and those by name."""
    if isinstance(value, Mapping):
        return {
            scrub_text(key, secrets): HIDDEN if _is_hidden(key, item) else scrub_json(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [scrub_json(item, secrets) for item in value]
    if isinstance(value, str):
        return scrub_text(value, secrets)
    return HIDDEN if str(value) in secrets else value


def secrets_in(value: Any) -> list[str]:
    """Return the values of all secret names in nested mappings and sequences."""
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
    """Return a URL without its query, fragment and user information."""
    return _USER_INFO.sub(r"\1", url).split("#", 1)[0].split("?", 1)[0]


def scrub_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide the given secrets, the queries of URLs, and the values after secret names.

    Args:
        text: any text, such as the message of another library's exception.
        secrets: values to hide as whole words, also percent-encoded or escaped for JSON. A value
            of fewer than six characters is hidden only if it stands by itself.
    """
    forms = {(form, secret) for secret in secrets if secret.strip() for form in _forms(secret)}
    for form, secret in sorted(forms, key=lambda pair: (len(pair[0]), pair), reverse=True):
        if form in text:
            text = _hide(text, form, secret)
    text = _USER_INFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?" + HIDDEN, text)
    text = _HEADER.sub(r"\1\2" + HIDDEN, text)
    return _hide_named_values(text)


def _hide(text: str, form: str, secret: str) -> str:
    """Hide one form of a secret, as a whole word."""
    if len(secret) >= _SURE_LENGTH:
        return text.replace(form, HIDDEN)
    literal = re.escape(form)
    # A word boundary is needed only where the secret begins or ends with a letter or a digit. The
    # form's length decides: a short secret may have a long form, which is not an ordinary word.
    if len(form) >= _WORD_LENGTH:
        begins = _BEGINS if re.match(_LETTER, secret) else ""
        ends = _ENDS if re.match(_LETTER, secret[-1]) else ""
        return re.sub(f"{begins}{literal}{ends}", HIDDEN, text)
    contexts = _ALONE if secret.isalpha() else (*_ALONE, _AFTER_NAME)
    for before, after in contexts:
        text = re.sub(f"({before}){literal}(?={after})", _keep_before, text)
    return text


def _keep_before(match: re.Match[str]) -> str:
    return match[1] + HIDDEN


def _hide_named_values(text: str) -> str:
    """Hide the values after secret names. Arrays and objects are hidden as a whole."""
    parts, done = [], 0
    while (match := _NAMED.search(text, done)) is not None:
        parts += [text[done : match.start("value")], HIDDEN]
        done = match.end() if match["open"] is None else _end_of_nested(text, match.start("value"))
    return "".join([*parts, text[done:]])


def _end_of_nested(text: str, start: int) -> int:
    """Return the index after an array or object, or the end of the text if it was cut off."""
    depth = 0
    for piece in _PIECE.finditer(text, start):
        depth += (piece["open"] is not None) - (piece["close"] is not None)
        if depth == 0:
            return piece.end()
    return len(text)


def _forms(secret: str) -> set[str]:
    """Return the forms in which a secret may occur: plain, percent-encoded or escaped."""
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
    """Return all texts and numbers in nested mappings and sequences, as texts."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return [str(value)]
    return [leaf for item in _items(value) for leaf in _leaves(item)]


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct that shows no secret: not in its repr, and not in `to_dict` unless asked to.

    Fields that are None are left out of the repr and of requests.
    """

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown: list[tuple[str, Any]] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                # Callers may pass a section as a mapping, and a mapping's repr would show secrets.
                plain = scrub(value) if isinstance(value, Mapping) else value
                shown.append((name, _Hidden() if _is_hidden(name, value) else plain))
        return shown

    def to_dict(self, *, reveal: bool = False) -> dict[str, object]:
        """Return the fields as values that any JSON encoder takes, under the API's names.

        Structs become dicts, tuples become lists, enums become texts, and times become texts in
        ISO 8601. An error becomes a text: its class and its message. A number that JSON lacks, such
        as infinity, becomes None. A field that is None stays, so all items of a list have the same
        keys.

        Args:
            reveal: whether passwords, pins and tokens are shown; otherwise they are "***".
        """
        return _to_dict(self, reveal)

    def replace(self, **changes: object) -> Self:
        """Return a copy with other values in some fields. The types are not checked.

        Args:
            changes: the fields to change, by the names of the attributes.

        Raises:
            TypeError: there is no such field; the message suggests the nearest name.
        """
        known = [name for name in self.__struct_fields__ if not name.startswith("_")]
        for name in changes:
            if name not in known:
                nearest = get_close_matches(name.lower(), known, n=1)
                hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(known)}"
                shown = name if name.isprintable() else ascii(name)[1:-1]
                raise TypeError(f'{type(self).__name__} has no field "{shown}"; {hint}')
        return structs.replace(self, **changes)

    def __replace__(self, /, **changes: object) -> Self:
        """Return a copy for `copy.replace`, which Python 3.13 has."""
        return self.replace(**changes)


@cache
def _names(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, bool], ...]:
    """Return each public field of a struct: its name, the API's name, and if it holds a secret."""
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return tuple((name, sent, is_secret(name)) for name, sent in names if name[0] != "_")


def _to_dict(struct: msgspec.Struct, reveal: bool) -> dict[str, object]:
    values = {}
    for name, sent, has_secret in _names(type(struct)):
        value = getattr(struct, name)
        values[sent] = (
            HIDDEN if has_secret and not reveal and _can_be_secret(value) else _json(value, reveal)
        )
    return values


def _json(value: Any, reveal: bool) -> object:
    """Return a value as JSON has it, with its secrets hidden unless `reveal` is True."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)  # the text of a subclass that shows another one
    if isinstance(value, msgspec.Struct):
        return _to_dict(value, reveal)
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(item, reveal) for item in value]
    if isinstance(value, Mapping):
        return {
            str.__str__(key) if isinstance(key, str) else str(key): (
                HIDDEN if not reveal and _is_hidden(key, item) else _json(item, reveal)
            )
            for key, item in value.items()
        }
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return _json(msgspec.to_builtins(value, str_keys=True, enc_hook=str), reveal)


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN
