"""Builds streamed bodies: a multipart form with a file, or the bytes of a source alone."""

import asyncio
import posixpath
from collections.abc import Mapping
from contextlib import aclosing
from mimetypes import guess_type
from typing import Final

import aiohttp
from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

from .message import ByteSource

# How many bytes of an upload are sent under one timer; few enough for a slow line.
_PIECE: Final = 16 * 1024


class _SourcePart(payload.Payload):
    """A source as a part of a form; unlike aiohttp's own class, it leaves the caller's file open.

    aiohttp's `sock_read` starts only when everything is sent. If the PBX stopped taking bytes, an
    upload would wait forever. So the same timeout limits the sending of each piece.
    """

    def __init__(self, source: ByteSource, content_type: str, silence: float | None) -> None:
        super().__init__(source, content_type=content_type)
        self._source = source
        self._size = source.size
        self._silence = silence

    async def write(self, writer: AbstractStreamWriter) -> None:
        async with aclosing(self._source.chunks()) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), _PIECE):
                    async with asyncio.timeout(self._silence):
                        await writer.write(chunk[start : start + _PIECE])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("an upload is streamed")


def build_body(
    fields: Mapping[str, str | list[str]] | None, source: ByteSource | None, silence: float | None
) -> payload.Payload:
    """Build a streamed body: a multipart form, or the bytes of the source alone.

    Args:
        fields: the fields of the form; None if the body is not a form.
        source: the bytes of the form's part ``file``, or of the whole body.
        silence: how many seconds the sending of a piece may take; None: unlimited.
    """
    if fields is not None:
        return _build_form(fields, source, silence)
    assert source is not None  # noqa: S101 - there is nothing to send otherwise
    return _SourcePart(source, "application/octet-stream", silence)


def _build_form(
    fields: Mapping[str, str | list[str]], source: ByteSource | None, silence: float | None
) -> aiohttp.MultipartWriter:
    """Build a form with the fields, and the source as its part ``file``.

    File names are sent as UTF-8. Quotes and control characters in them are percent-encoded, as
    browsers do.
    """
    form = aiohttp.MultipartWriter("form-data")
    for name, value in fields.items():
        for text in [value] if isinstance(value, str) else value:
            part = payload.StringPayload(text)
            quoted = name.translate(_QUOTED)
            part.headers["Content-Disposition"] = f'form-data; name="{quoted}"'
            form.append_payload(part)
    if source is None:
        return form
    filename = str(fields["filename"])
    # Only the suffix counts: a name such as "data:x/y,z" could set its type, or another header.
    kind, _ = guess_type("file" + posixpath.splitext(filename)[1])
    body = _SourcePart(source, kind or "application/octet-stream", silence)
    quoted = filename.translate(_QUOTED)
    body.headers["Content-Disposition"] = f'form-data; name="file"; filename="{quoted}"'
    form.append_payload(body)
    return form


# aiohttp refuses control characters in a header.
_QUOTED = str.maketrans({mark: f"%{ord(mark):02X}" for mark in ('"', *map(chr, range(32)), "\x7f")})
