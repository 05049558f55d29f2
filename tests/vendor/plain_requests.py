"""Send plain requests to a PBX, without the client."""

import hashlib
import json
import wave
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

NO_QUERY: Mapping[str, str] = {}


def recording() -> bytes:
    """Return a WAV file: PCM, 16 bit, mono. Its bytes are below 128: Prism reads it as UTF-8."""
    file = BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(11025)
        written.writeframes(bytes(64))
    return file.getvalue()


RECORDING = recording()


class Requests:
    """Send plain requests to a PBX, and check the status of each reply.

    Attributes:
        url: the address of the PBX.
        token: the token that each request carries; "" for none.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str = "") -> None:
        self._session = session
        self.url = url
        self.token = ""

    async def get(self, path: str, status: int = 200, **query: str) -> Any:
        return await self._send("GET", path, status, query)

    async def post(self, path: str, status: int = 200, body: object = None, **query: str) -> Any:
        return await self._send("POST", path, status, query, body=body)

    async def begin(self, filename: str) -> tuple[str, str]:
        """Begin an upload, and return its id and its token."""
        headers = await self._send(
            "POST", "/blobs/uploads", 202, {"filename": filename}, headers_only=True
        )
        return headers["PortSIP-Upload-ID"], headers["PortSIP-Upload-Token"]

    async def upload(self, recording: bytes, filename: str) -> str:
        """Upload a file in two parts, and return its id."""
        upload, token = await self.begin(filename)
        place = f"/blobs/uploads/{upload}"
        for part in (recording[:60], recording[60:]):
            headers = {"PortSIP-Upload-Token": token}
            told = await self._send(
                "POST", f"{place}/append", 203, {}, body=part, headers=headers, headers_only=True
            )
            token = told["PortSIP-Upload-Token"]
            await self.get(f"{place}/status", 204)
        digest = {"digest": hashlib.sha256(recording).hexdigest()}
        headers = {"PortSIP-Upload-Token": token}
        done = await self._send("POST", f"{place}/complete", 201, digest, headers=headers)
        return str(done["id"])

    async def _send(
        self,
        method: str,
        path: str,
        status: int,
        query: Mapping[str, str] = NO_QUERY,
        *,
        body: object = None,
        headers: dict[str, str] | None = None,
        headers_only: bool = False,
    ) -> Any:
        """Send a request, and return the body of its reply, or with `headers_only` its headers."""
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        url = URL(f"{self.url}/api{path}", encoded=True).update_query(query)
        async with self._session.request(method, url, data=body, headers=headers) as reply:
            text = await reply.read()
            assert reply.status == status, f"{method} {path}: {reply.status} {text!r}"
            if headers_only:
                return reply.headers
            return json.loads(text) if reply.content_type == "application/json" else text
