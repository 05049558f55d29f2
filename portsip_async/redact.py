"""The hiding of secrets: which names carry one, and how a mapping, a URL or a text is scrubbed.

Pure: everything here takes values and returns values. Two nets lie one over the other. What is
known to be secret in a call (its token, its password) is replaced where it stands as a whole word;
what looks like a secret by its name is replaced whether or not its value is known.

A short secret is found in every other sentence: with the password "a" nothing would stay readable.
So one of fewer than six characters is replaced only where it stands by itself as a value: in quotes
or brackets, behind ``=`` or ``:``, between tags, behind the name of a secret, or alone.
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
# What an array or an object is made of, as far as its end has to be found.
_PIECE = re.compile(
    rf"(?P<quoted>{_QUOTED})|(?P<open>[\[{{])|(?P<close>[\]}}])|[^\[\]{{}}\"'\\]++|.",
    re.VERBOSE | re.DOTALL,
)

# Of these many characters on a secret is hidden as a whole word, of those many on inside one too.
_WORD_LENGTH = 6
_SURE_LENGTH = 16
# A letter or a digit, and the edges of a word. Before it an escape may stand that ends like a word.
_LETTER = r"[^\W_]"
_BEGINS = (
    rf"(?:(?<!{_LETTER})|(?<=%[0-9A-Fa-f]{{2}})|(?<=\\[abfnrtv0])|(?<=\\x[0-9A-Fa-f]{{2}})"
    r"|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\U[0-9A-Fa-f]{8}))"
)
_ENDS = rf"(?!{_LETTER})"
_GAP = r"[ \t\xa0]{0,8}"
_END = r"[.!?\u2026]{0,3}"  # of a sentence
_QUOTE = (
    r"""\\{0,2}["'`]|[\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb]"""
    r"|&quot;|&\#x27;|&\#39;|%22|%27"
)
_NAMED_BEFORE = rf"{_BEGINS}(?i:password|passwd|token|secret|auth|pin){_GAP}[ \t](?i:is[ \t])?"
# Where a short secret stands by itself: what is before it, and what is behind it.
_ALONE = (
    (_QUOTE, _QUOTE),
    (r"[(\[{<]", r"[)\]}>]"),
    (">", "<"),
    (rf"={_GAP}", rf"""[,;&)}}\]>"']|{_END}(?:\s|$)"""),
    (rf":{_GAP}", rf"{_GAP}(?:[,;&)}}\]>\r\n]|{_END}\s*$)"),
    (rf"(?m:^){_GAP}", rf"{_END}{_GAP}\r?(?m:$)"),
    (_NAMED_BEFORE, rf"[,;)]|{_END}\s*$"),
)
# A secret that has other characters than letters is no word of a sentence.
_ANYWHERE_NAMED = (_NAMED_BEFORE, _ENDS)


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
        secrets: values to hide where they stand as whole words, also percent-encoded or escaped for
            JSON; those of fewer than six characters only where they stand by themselves.
    """
    forms = {(form, secret) for secret in secrets if secret.strip() for form in _forms(secret)}
    for form, secret in sorted(forms, key=lambda pair: (len(pair[0]), pair), reverse=True):
        if form in text:
            text = _without(text, form, secret)
    text = _USER_INFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?" + HIDDEN, text)
    text = _HEADER.sub(r"\1\2" + HIDDEN, text)
    return _without_named(text)


def _without(text: str, form: str, secret: str) -> str:
    """Hide a form of a secret, as a whole word at those ends that are letters or digits."""
    if len(secret) >= _SURE_LENGTH:
        return text.replace(form, HIDDEN)
    literal = re.escape(form)
    # An encoded form that is long enough is no word of a sentence either.
    if len(form) >= _WORD_LENGTH:
        begins = _BEGINS if re.match(_LETTER, secret) else ""
        ends = _ENDS if re.match(_LETTER, secret[-1]) else ""
        return re.sub(f"{begins}{literal}{ends}", HIDDEN, text)
    places = _ALONE if secret.isalpha() else (*_ALONE, _ANYWHERE_NAMED)
    for before, behind in places:
        text = re.sub(f"({before}){literal}(?={behind})", _keep_before, text)
    return text


def _keep_before(match: re.Match[str]) -> str:
    return match[1] + HIDDEN


def _without_named(text: str) -> str:
    """Hide what stands behind a secret name; of an array or an object, all of it."""
    parts, done = [], 0
    while (match := _NAMED.search(text, done)) is not None:
        parts += [text[done : match.start("value")], HIDDEN]
        done = match.end() if match["open"] is None else _end_of_nested(text, match.start("value"))
    return "".join([*parts, text[done:]])


def _end_of_nested(text: str, start: int) -> int:
    """Find the end of an array or an object; the end of the text if it was cut short."""
    depth = 0
    for piece in _PIECE.finditer(text, start):
        depth += (piece["open"] is not None) - (piece["close"] is not None)
        if depth == 0:
            return piece.end()
    return len(text)


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
