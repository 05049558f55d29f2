"""The actions of uploads and files."""

import re
from collections.abc import Mapping

from ..face import Reply
from .context import Action, Content, Request, State
from .uploads import Upload

_CHUNK = 64 * 1024  # bytes of an upload in memory at once


def _upload_reply(status: int, upload_id: str, upload: Upload) -> Reply:
    headers = {
        "PortSIP-Upload-ID": upload_id,
        "PortSIP-Upload-Token": upload.token,
        "Range": f"0-{max(upload.size - 1, 0)}",
    }
    return Reply(status, headers=headers)


def _begin(state: State, request: Request) -> Content:
    upload_id = state.uploads.begin(request.query.get("filename", ""))
    return _upload_reply(202, upload_id, state.uploads.get(upload_id))


async def _receive(state: State, request: Request) -> Upload:
    """Check the token of an upload, and read a part of its content."""
    token = request.http.headers.get("PortSIP-Upload-Token", "")
    upload = state.uploads.get(request.path["id"], token)
    async for chunk in request.http.content.iter_chunked(_CHUNK):
        upload.add(chunk)
    return upload


async def _append(state: State, request: Request) -> Content:
    return _upload_reply(203, request.path["id"], await _receive(state, request))


async def _complete(state: State, request: Request) -> Content:
    await _receive(state, request)
    file_id = state.uploads.complete(request.path["id"], request.query.get("digest"))
    return {"id": file_id}


def _upload_status(state: State, request: Request) -> Content:
    upload_id = request.path["id"]
    return _upload_reply(204, upload_id, state.uploads.get(upload_id))


def _download(state: State, request: Request) -> Content:
    file = state.uploads.download(request.path["digest"])
    filename = re.sub(r"[^ !#-\[\]-~]", "_", file.filename or "file")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    return Reply(200, file.content or b"", headers)


BLOB_ACTIONS: Mapping[str, Action] = {
    "blobs.begin": _begin,
    "blobs.append": _append,
    "blobs.complete": _complete,
    "blobs.status": _upload_status,
    "blobs.destroy": lambda state, request: state.uploads.destroy(request.path["id"]),
    "blobs.download": _download,
}
