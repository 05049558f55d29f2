"""How the simulated PBX reads an upload: part by part, as it comes, holding no file in memory."""

from hashlib import sha256
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from .refusal import Refusal
from .state import Greeting

_CHUNK = 64 * 1024
_FIELD_LIMIT = 64 * 1024  # bytes of a part that is no file


async def read_upload(request: web.BaseRequest) -> dict[str, Any]:
    """Read a multipart form: its texts, and what is to be known of its ``file``.

    Raises:
        Refusal: no multipart form, or a broken one.
    """
    found: dict[str, Any] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise Refusal("syntax", "a part has no name")
            read = _read_file if part.name == "file" else _read_text
            found[part.name] = await read(part)
    except (ValueError, RuntimeError, AssertionError, HttpProcessingError):
        # aiohttp's reader tells of a broken form by each of these, in words that may quote it.
        raise Refusal("syntax", "the body is no multipart form") from None
    return found


async def _read_file(part: BodyPartReader) -> Greeting:
    digest, size = sha256(), 0
    while chunk := await part.read_chunk(_CHUNK):
        data = part.decode(chunk)
        digest.update(data)
        size += len(data)
    return Greeting(part.filename or "", size, digest.hexdigest())


async def _read_text(part: BodyPartReader) -> str:
    data = bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        data += part.decode(chunk)
        if len(data) > _FIELD_LIMIT:
            raise Refusal("format", "a field is too long")
    return data.decode()
