"""Builds the form of an upload: its fields, and a part that streams from a source."""

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

# Bytes of an upload that are sent under one timer; few enough for a slow line.
_PIECE: Final = 16 * 1024


class _SourcePart(payload.Payload):
    """A source as a part of a form; unlike aiohttp's own class, it leaves the caller's file open.

    aiohttp's `sock_read` starts when everything is sent. If the PBX stopped taking bytes before, an
    upload would wait for ever. So the same time limits the sending of each piece.
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


def build_form(
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
