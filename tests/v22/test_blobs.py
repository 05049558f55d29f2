"""Uploads of files: their three requests, their digest, and what is left of one that fails."""

import asyncio
import io
import logging
import os
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from portsip_async import (
    APIError,
    BadRequest,
    ClientClosed,
    PortSIPError,
    RateLimited,
    ReplyError,
    RetryPolicy,
    ServerError,
    Timeout,
    Token,
    TransportError,
)
from portsip_async.core.upload import CHUNK
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient, blobs

from ..concurrency import in_background, until, yield_to_loop
from ..test_secrecy import forms
from ..test_tracebacks import check
from ..test_uploads import DATA, NO_PAUSE, READABLE_ONCE, SOURCES, WHOLE, SourceMaker, make_source
from ..wire_server import Arrival, Step, WireServer, hang_up, reply

__all__ = ["make_source"]

UPLOADS = "/api/blobs/uploads"
UPLOAD_TOKEN = "upload/Token+7=&'"
REFUSED = {"errors": [{"code": "VALIDATE_FAILED", "message": "no"}]}


def v22(url: str, **options: Any) -> PortSIPClient:
    return PortSIPClient(url, token="t", **{"retry": NO_PAUSE, **options})


class Uploads:
    """Replies to the requests of an upload as the document says, or as a script for a step says.

    Attributes:
        script: by step, a reply, or what replies.
        arrivals: the requests that arrived whole, by step.
        steps: the steps of the requests, in order.
        gates: by step, what its reply waits for.
    """

    def __init__(self, wire: WireServer) -> None:
        wire.script = [self.serve]
        self.script: dict[str, Step] = {}
        self.arrivals: dict[str, Arrival] = {}
        self.steps: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def serve(
        self, arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        step = arrival.path.rpartition("/")[2].replace("uploads", "begin")
        self.steps.append(step)
        self.arrivals[step] = arrival
        if step in self.gates:
            await self.gates[step].wait()
        scripted = self.script.get(step, self.replies(step))
        if isinstance(scripted, bytes):
            writer.write(scripted)
        else:
            await scripted(arrival, reader, writer)
        return False

    def replies(self, step: str) -> bytes:
        if step in ("begin", "append"):
            status = 202 if step == "begin" else 203
            return reply(b"", status, {"PortSIP-Upload-ID": "u", "PortSIP-Upload-Token": "first"})
        return reply({"id": "file"}, 201) if step == "complete" else reply(b"", 204)


@pytest.fixture
def uploads(wire: WireServer) -> Uploads:
    return Uploads(wire)


async def large(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // CHUNK):
        yield bytes(CHUNK)


class TestRequests:
    async def test_requests(self, wire: WireServer, uploads: Uploads) -> None:
        """Begin and complete have no body. Complete follows the headers of append's reply."""
        headers = {"PortSIP-Upload-ID": "u/2", "PortSIP-Upload-Token": "second", "Range": "0-9"}
        uploads.script["append"] = reply(b"", 203, headers)
        async with v22(wire.url) as pbx:
            assert await pbx.blobs.upload(DATA, filename="grüße &.wav") == "file"
        begin, append, complete = wire.arrivals
        assert [arrival.method for arrival in wire.arrivals] == ["POST"] * 3
        assert wire.paths() == [UPLOADS, f"{UPLOADS}/u/append", f"{UPLOADS}/u%2F2/complete"]
        assert parse_qs(begin.query) == {"filename": ["grüße &.wav"]}
        assert append.query == ""
        assert complete.query == f"digest={sha256(DATA).hexdigest()}"
        assert (begin.body, append.body, complete.body) == (b"", DATA, b"")
        assert append.headers["content-type"] == "application/octet-stream"
        assert append.headers["content-length"] == str(len(DATA))
        assert append.headers["portsip-upload-token"] == "first"
        assert complete.headers["portsip-upload-token"] == "second"
        for arrival in wire.arrivals:
            assert arrival.headers["authorization"] == "Bearer t"
        for arrival in (begin, complete):
            assert "content-type" not in arrival.headers
            assert "transfer-encoding" not in arrival.headers

    async def test_reply_without_headers(self, wire: WireServer, uploads: Uploads) -> None:
        """If append's reply has no headers, the upload keeps its id and its token."""
        uploads.script["append"] = reply(b"", 203)
        async with v22(wire.url) as pbx:
            assert await pbx.blobs.upload(DATA) == "file"
        complete = uploads.arrivals["complete"]
        assert complete.path == f"{UPLOADS}/u/complete"
        assert complete.headers["portsip-upload-token"] == "first"

    async def test_one_connection(self, wire: WireServer, uploads: Uploads) -> None:
        """The requests come one after the other, the one that destroys the upload too."""
        async with v22(wire.url, max_connections=1) as pbx:
            await pbx.blobs.upload(DATA)
            uploads.script["complete"] = reply(REFUSED, 400)
            with pytest.raises(BadRequest):
                await pbx.blobs.upload(DATA)
        assert uploads.steps == [
            *("begin", "append", "complete"),
            *("begin", "append", "complete", "destroy"),
        ]


class TestSources:
    @pytest.mark.parametrize("name", SOURCES)
    async def test_upload_arrives_complete(
        self, name: str, make_source: SourceMaker, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Each kind of source arrives byte for byte, with the right digest."""
        file_id = await pbx22.blobs.upload(make_source(name), filename="a.wav")
        file = sim.v22.files[file_id]
        assert (file.size, file.sha256) == WHOLE
        assert file.filename == "a.wav"
        assert not sim.v22.uploads

    @pytest.mark.parametrize("name", SOURCES)
    async def test_length_of_the_source(
        self, name: str, make_source: SourceMaker, wire: WireServer, uploads: Uploads
    ) -> None:
        """A known length is sent. Otherwise the upload is sent in chunks."""
        async with v22(wire.url) as pbx:
            await pbx.blobs.upload(make_source(name))
        append = uploads.arrivals["append"]
        assert append.body == DATA
        assert ("transfer-encoding" in append.headers) == (name in READABLE_ONCE)
        assert ("content-length" in append.headers) == (name not in READABLE_ONCE)

    @pytest.mark.parametrize("kind", ["bytes", "path", "file", "generator"])
    async def test_empty_file(
        self, kind: str, tmp_path: Path, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """An empty file has the digest of no bytes. The PBX decides whether it takes one."""
        path = tmp_path / "empty.wav"
        path.touch()
        given: Any = {"bytes": b"", "path": path, "file": io.BytesIO(), "generator": large(0)}[kind]
        file = sim.v22.files[await pbx22.blobs.upload(given)]
        assert (file.size, file.sha256) == (0, sha256().hexdigest())

    @pytest.mark.parametrize(
        ("filename", "sent"), [(None, "disk.wav"), ("mine.wav", "mine.wav"), ("a/ä?&", "a/ä?&")]
    )
    async def test_name_of_the_file(
        self,
        filename: str | None,
        sent: str,
        make_source: SourceMaker,
        pbx22: PortSIPClient,
        sim: PBXSimulator,
    ) -> None:
        """A path has a name. The argument `filename` replaces it."""
        file_id = await pbx22.blobs.upload(make_source("path"), filename=filename)
        assert sim.v22.files[file_id].filename == sent

    async def test_source_without_a_name(self, wire: WireServer, uploads: Uploads) -> None:
        """The name is optional, so a source without one is uploaded too."""
        async with v22(wire.url) as pbx:
            await pbx.blobs.upload(DATA)
        assert uploads.arrivals["begin"].query == ""

    @pytest.mark.parametrize(
        ("source", "filename", "error"),
        [
            (io.StringIO("text"), "a", TypeError),
            (["a"], "a", TypeError),
            (None, "a", TypeError),
            (b"", "", ValueError),
            (b"", 7, TypeError),
        ],
    )
    async def test_unusable_argument(
        self, source: Any, filename: Any, error: type[Exception], wire: WireServer
    ) -> None:
        """It is refused before anything is sent."""
        async with v22(wire.url) as pbx:
            with pytest.raises(error):
                await pbx.blobs.upload(source, filename=filename)
        assert wire.connections == 0


class TestMemory:
    @pytest.mark.parametrize(("kind", "megabytes"), [("generator", 512), ("path", 64)])
    async def test_upload_is_streamed(
        self, kind: str, megabytes: int, tmp_path: Path, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """At most a few chunks of a file are in memory, and its digest is right."""
        size = megabytes * 2**20
        given: Any = tmp_path / "large.wav"
        with given.open("wb") as file:
            file.truncate(size)
        if kind == "generator":
            given = large(size)
        await pbx22.blobs.upload(b"first")
        tracemalloc.start(1)
        try:
            file_id = await pbx22.blobs.upload(given, filename="a.wav")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sim.v22.files[file_id].size == size
        assert peak < 8 * 2**20

    async def test_source_is_read_only_as_it_is_sent(self, uploads: Uploads) -> None:
        """While the PBX takes no bytes, the source is not read ahead."""
        taken = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(CHUNK)

        async with (
            Raw() as raw,
            v22(raw.url, timeout=Timeout(total=5, read=0.2), retry=NO_PAUSE) as pbx,
        ):
            with pytest.raises(TransportError):
                await pbx.blobs.upload(chunks())
            await until(lambda: raw.steps == ["begin", "append", "destroy"])
        assert taken < 200  # what the sockets of both sides buffer


class Raw(Uploads):
    """Serves uploads without reading the bodies of appends, unless `append` does.

    Attributes:
        append: handles an append, of which only the head was read; None leaves it alone.
    """

    append: Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]] | None

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.queries: list[str] = []
        self.append = None
        self._done = asyncio.Event()

    async def __aenter__(self) -> "Raw":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**16)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        self._server.close()
        await yield_to_loop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, _, query = head.split()[1].partition("?")
        step = path.rpartition("/")[2].replace("uploads", "begin")
        self.steps.append(step)
        self.queries.append(query)
        if step != "append":
            writer.write(self.replies(step))
        elif self.append is None:
            await self._done.wait()
        else:
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            await self.append(int(length[1]) if length else -1, reader, writer)
        writer.close()


class TestReplay:
    @pytest.mark.parametrize("name", [name for name in SOURCES if name not in READABLE_ONCE])
    @pytest.mark.parametrize("script", [{"status": 429}, {"status": 503, "retry_after": 0}, None])
    async def test_bytes_that_are_sent_again(
        self,
        name: str,
        script: dict[str, Any] | None,
        make_source: SourceMaker,
        pbx22: PortSIPClient,
        sim: PBXSimulator,
    ) -> None:
        """After a rejected token too, the digest is that of the attempt that succeeded."""
        if script is None:
            script = {"status": 401, "err_code": "UNAUTHORIZED"}
        sim.v22.fail("blobs.append", **script)
        file = sim.v22.files[await pbx22.blobs.upload(make_source(name))]
        assert (file.size, file.sha256) == WHOLE
        assert sim.v22.served["blobs.append"] == 2

    @pytest.mark.parametrize("name", READABLE_ONCE)
    async def test_source_that_was_consumed(
        self, name: str, make_source: SourceMaker, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        sim.v22.fail("blobs.append", status=429)
        with pytest.raises(RateLimited, match="can be read only once"):
            await pbx22.blobs.upload(make_source(name))
        assert sim.v22.served["blobs.append"] == 1
        assert not sim.v22.uploads
        assert not sim.v22.files

    @pytest.mark.parametrize("name", ["bytes", "file", "path"])
    @pytest.mark.parametrize("closes", [True, False])
    async def test_refusal_during_the_upload(self, name: str, closes: bool, tmp_path: Path) -> None:
        """The digest has no bytes of an attempt that was refused halfway."""
        data = os.urandom(2**20) * 8
        path = tmp_path / "large.wav"
        path.write_bytes(b"skip " * (name == "file") + data)
        digests: list[str] = []

        async def append(
            length: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            if raw.steps.count("append") == 1:
                await reader.readexactly(2**20)
                kind = "close" if closes else "keep-alive"
                writer.write(reply({}, 429, {"Connection": kind}))
                await reader.read()  # until the client closes the connection
            else:
                digests.append(sha256(await reader.readexactly(length)).hexdigest())
                writer.write(raw.replies("append"))

        async with Raw() as raw, v22(raw.url) as pbx:
            raw.append = append
            with path.open("rb") as file:
                file.seek(5)
                given: Any = {"bytes": data, "path": path}.get(name, file)
                assert await pbx.blobs.upload(given) == "file"
        assert digests == [sha256(data).hexdigest()]
        assert raw.steps == ["begin", "append", "append", "complete"]
        assert raw.queries[-1] == f"digest={digests[0]}"

    @pytest.mark.parametrize("kind", ["bytes", "path", "generator"])
    async def test_success_before_the_end(self, kind: str, tmp_path: Path) -> None:
        """The PBX claims to have the file, but it has not read it: a part is not completed."""
        size = 16 * 2**20
        path = tmp_path / "large.wav"
        path.write_bytes(bytes(size))
        given: Any = {"bytes": bytes(size), "path": path, "generator": large(size)}[kind]

        async def append(
            _: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(raw.replies("append"))
            await writer.drain()
            await raw._done.wait()

        async with Raw() as raw, v22(raw.url) as pbx:
            raw.append = append
            with pytest.raises(ReplyError, match="before the whole file was sent") as caught:
                await pbx.blobs.upload(given)
            assert caught.value.operation == "blobs.append"
            assert raw.steps == ["begin", "append", "destroy"]


class TestFailures:
    @pytest.mark.parametrize(
        ("step", "script", "error"),
        [
            ("append", {"status": 400}, BadRequest),
            ("append", {"status": 500}, ServerError),
            ("append", {"drop": True}, TransportError),
            ("append", {"drop": True, "act": True}, TransportError),
            ("complete", {"status": 400}, BadRequest),
            ("complete", {"status": 500}, ServerError),
            ("complete", {"drop": True}, TransportError),
            ("complete", {"drop": True, "act": True}, TransportError),
            ("complete", {"truncate": True}, TransportError),
            ("complete", {"status": 200, "body": b"not JSON"}, ReplyError),
        ],
        ids=str,
    )
    async def test_failed_step(
        self,
        step: str,
        script: dict[str, Any],
        error: type[PortSIPError],
        pbx22: PortSIPClient,
        sim: PBXSimulator,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The error of the step is raised, and the PBX holds no unfinished upload then."""
        sim.v22.fail(f"blobs.{step}", times=None, **script)
        with pytest.raises(error) as caught:
            await pbx22.blobs.upload(DATA)
        assert isinstance(caught.value, PortSIPError)
        assert caught.value.operation == f"blobs.{step}"
        assert not sim.v22.uploads
        assert sim.v22.served[f"blobs.{step}"] == 1
        assert sim.v22.served["blobs.destroy"] == 1
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]

    @pytest.mark.parametrize(
        "step",
        [
            reply(REFUSED, 400),
            reply(b"", 500),
            hang_up,
            reply(b"", 202),
            reply(b"", 202, {"PortSIP-Upload-ID": "u"}),
            reply(b"", 202, {"PortSIP-Upload-Token": "t"}),
        ],
    )
    async def test_begin_that_fails(self, step: Any, wire: WireServer, uploads: Uploads) -> None:
        """Without an id nothing can be destroyed."""
        uploads.script["begin"] = step
        async with v22(wire.url) as pbx:
            with pytest.raises(PortSIPError) as caught:
                await pbx.blobs.upload(DATA)
        assert caught.value.operation == "blobs.begin"
        assert caught.value.may_have_acted == (step != reply(REFUSED, 400))
        assert uploads.steps == ["begin"]

    @pytest.mark.parametrize(("id_", "token"), [("", "t"), ("..", "t"), ("u", "a\u200bb")])
    async def test_unusable_id_or_token(
        self, id_: str, token: str, wire: WireServer, uploads: Uploads
    ) -> None:
        """An id of the PBX that can't be sent back is a fault of its reply, not of the caller."""
        headers = {"PortSIP-Upload-ID": id_, "PortSIP-Upload-Token": token}
        uploads.script["begin"] = reply(b"", 202, headers)
        async with v22(wire.url) as pbx:
            with pytest.raises(ReplyError, match="can't be sent back"):
                await pbx.blobs.upload(DATA)
        assert uploads.steps == (["begin", "destroy"] if id_ == "u" else ["begin"])

    @pytest.mark.parametrize("step", ["append", "complete"])
    async def test_upload_that_got_another_id(
        self, step: str, wire: WireServer, uploads: Uploads
    ) -> None:
        """The latest id is destroyed."""
        headers = {"PortSIP-Upload-ID": "u2", "PortSIP-Upload-Token": "second"}
        uploads.script["append"] = reply(b"", 203, headers)
        uploads.script[step] = reply(REFUSED, 400)
        async with v22(wire.url) as pbx:
            with pytest.raises(BadRequest):
                await pbx.blobs.upload(DATA)
        destroyed = uploads.arrivals["destroy"]
        assert destroyed.path == f"{UPLOADS}/{'u' if step == 'append' else 'u2'}/destroy"
        assert (destroyed.query, destroyed.body) == ("", b"")

    @pytest.mark.parametrize("destroy", [reply(b"", 500), reply(REFUSED, 400), hang_up])
    async def test_destroy_that_fails(
        self,
        destroy: Any,
        wire: WireServer,
        uploads: Uploads,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The error of the upload is raised. What the clean-up met with is only logged."""
        uploads.script = {"complete": reply(REFUSED, 400), "destroy": destroy}
        async with v22(wire.url) as pbx:
            with pytest.raises(BadRequest) as caught:
                await pbx.blobs.upload(DATA)
        assert caught.value.operation == "blobs.complete"
        [warning] = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert "an unfinished upload could not be destroyed: blobs.destroy" in warning.message

    async def test_clean_up_without_a_token(
        self, wire: WireServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error of the application's credentials is logged by its type only."""

        class Vault:
            fetched = 0

            async def fetch_token(self) -> Token:
                self.fetched += 1
                if self.fetched > 1:
                    raise RuntimeError("vault-Secret-1")
                return Token("token-1", 1800.0)

        uploads.script = {"append": reply(REFUSED, 400), "destroy": reply(b"", 401)}
        async with PortSIPClient(wire.url, credentials=Vault(), retry=NO_PAUSE) as pbx:
            with pytest.raises(BadRequest):
                await pbx.blobs.upload(DATA)
        [warning] = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert warning.message == "an unfinished upload could not be destroyed: RuntimeError"

    async def test_upload_that_is_gone(
        self, wire: WireServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An upload that the PBX dropped by itself needs no clean-up."""
        uploads.script = {"append": reply(REFUSED, 404), "destroy": reply(b"", 404)}
        async with v22(wire.url) as pbx:
            with pytest.raises(APIError):
                await pbx.blobs.upload(DATA)
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]

    @pytest.mark.parametrize("after", [0, 1, 9])
    @pytest.mark.parametrize(
        "error", [RuntimeError("mine"), OSError(5, "disk"), TimeoutError("mine")], ids=repr
    )
    async def test_error_of_the_source(
        self, error: Exception, after: int, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The call raises the error of the source."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(after):
                yield bytes(CHUNK)
            raise error

        with pytest.raises(type(error)) as caught:
            await pbx22.blobs.upload(chunks())
        assert caught.value is error
        assert not sim.v22.uploads
        assert not sim.v22.files

    async def test_source_of_another_type(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        async def chunks() -> AsyncIterator[Any]:
            yield b"RIFF"
            yield "text"

        with pytest.raises(TypeError, match="must yield bytes"):
            await pbx22.blobs.upload(chunks())
        assert not sim.v22.uploads

    async def test_missing_path(
        self, tmp_path: Path, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        with pytest.raises(FileNotFoundError):
            await pbx22.blobs.upload(tmp_path / "none.wav")
        assert not sim.v22.uploads
        assert sim.v22.served["blobs.append"] == 0

    @pytest.mark.parametrize("change", [-1, -len(DATA), 1, 300_000])
    async def test_file_that_changes(
        self, change: int, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A file that grows or shrinks during the upload is an error. The PBX stores nothing."""

        class Changing(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() == 0:
                    self.truncate(max(0, len(DATA) + change))
                    if change > 0:
                        self.seek(0, os.SEEK_END)
                        self.write(bytes(change))
                        self.seek(0)
                return super().read(size)

        with pytest.raises(ValueError, match="size of the file changed"):
            await pbx22.blobs.upload(Changing(DATA))
        assert not sim.v22.uploads
        assert not sim.v22.files

    @pytest.mark.parametrize("step", ["append", "complete"])
    async def test_secret_of_the_upload(
        self, step: str, wire: WireServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The upload's token is in no error, log or traceback, even if the PBX repeats it."""
        caplog.set_level(logging.DEBUG)
        headers = {"PortSIP-Upload-ID": "u", "PortSIP-Upload-Token": UPLOAD_TOKEN}
        error = {"code": "X", "message": UPLOAD_TOKEN, "detail": {"token": UPLOAD_TOKEN}}
        uploads.script["begin"] = reply(b"", 202, headers)
        uploads.script["append"] = reply(b"", 203)
        uploads.script[step] = uploads.script["destroy"] = reply({"errors": [error]}, 400)
        async with v22(wire.url) as pbx:
            with pytest.raises(APIError) as caught:
                await pbx.blobs.upload(DATA)
        assert uploads.arrivals[step].headers["portsip-upload-token"] == UPLOAD_TOKEN
        check(caught.value, UPLOAD_TOKEN)
        texts = f"{caught.value} {caught.value!r} {vars(caught.value)}"
        assert not [form for form in forms(UPLOAD_TOKEN) if form in texts]

    async def test_slow_source(self, wire: WireServer, uploads: Uploads) -> None:
        """Neither the total timeout nor the deadline ends the sending of the bytes."""

        async def chunks() -> AsyncIterator[bytes]:
            yield b"RIFF"
            await asyncio.sleep(0.6)
            yield b"end"

        retry = RetryPolicy(deadline=0.4)
        async with v22(wire.url, timeout=Timeout(total=0.4), retry=retry) as pbx:
            assert await pbx.blobs.upload(chunks()) == "file"

    async def test_client_that_was_closed(self, wire: WireServer) -> None:
        pbx = v22(wire.url)
        await pbx.close()
        with pytest.raises(ClientClosed):
            await pbx.blobs.upload(DATA)
        assert wire.connections == 0


class TestCancellation:
    @pytest.mark.parametrize("step", ["begin", "append", "complete"])
    @pytest.mark.parametrize("leaves", [False, True])
    async def test_cancelled_step(
        self, step: str, leaves: bool, wire: WireServer, uploads: Uploads
    ) -> None:
        """The upload is destroyed, even if the client is closed at once.

        While it begins, its id is not known. So the client waits for that reply.
        """
        gate = uploads.gates[step] = asyncio.Event()

        async def upload(pbx: PortSIPClient) -> None:
            if leaves:
                async with pbx:
                    await pbx.blobs.upload(DATA)
            await pbx.blobs.upload(DATA)

        async with v22(wire.url) as pbx, in_background(upload(pbx)) as [uploading]:
            await until(lambda: step in uploads.steps)
            uploading.cancel()
            if not leaves:
                await yield_to_loop(3)
                assert uploading.cancelled()  # it waits for nothing
            if step == "begin":
                gate.set()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            if not leaves:
                await until(lambda: "destroy" in uploads.steps)
        assert uploads.steps[-1] == "destroy"
        assert uploads.steps.count("destroy") == 1
        assert uploads.arrivals["destroy"].path == f"{UPLOADS}/u/destroy"
        gate.set()

    async def test_cancelled_while_bytes_are_sent(self, wire: WireServer, uploads: Uploads) -> None:
        """The connection of the append ends, and the source is closed."""
        closed = asyncio.Event()
        waiting = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield bytes(CHUNK)
                waiting.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        async with v22(wire.url) as pbx, in_background(pbx.blobs.upload(chunks())) as [uploading]:
            await asyncio.wait_for(waiting.wait(), 20)
            uploading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            await until(lambda: uploads.steps == ["begin", "destroy"])
            assert closed.is_set()

    async def test_timeout_around_an_upload(self, wire: WireServer, uploads: Uploads) -> None:
        uploads.gates["complete"] = asyncio.Event()
        async with v22(wire.url) as pbx:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await pbx.blobs.upload(DATA)
        assert uploads.steps[-1] == "destroy"
        uploads.gates["complete"].set()

    @pytest.mark.parametrize("step", ["begin", "destroy"])
    async def test_clean_up_that_hangs(
        self,
        step: str,
        wire: WireServer,
        uploads: Uploads,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A PBX that has stopped replying holds up neither the caller nor the client for long."""
        monkeypatch.setattr(blobs, "_CLEAN_UP_SECONDS", 0.1)
        gate = asyncio.Event()
        uploads.gates = {step: gate, "complete": gate}
        async with v22(wire.url) as pbx, in_background(pbx.blobs.upload(DATA)) as [uploading]:
            await until(lambda: {step, "complete"} & {*uploads.steps})
            uploading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            async with asyncio.timeout(5):
                await pbx.close()
        [warning] = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert "could not be destroyed" in warning.message
        gate.set()

    @pytest.mark.parametrize("begin", [reply(REFUSED, 400), hang_up])
    async def test_cancelled_before_a_failed_begin(
        self, begin: Any, wire: WireServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing was begun, so nothing is destroyed, and nobody misses the error."""
        lost: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        gate = uploads.gates["begin"] = asyncio.Event()
        uploads.script["begin"] = begin
        async with v22(wire.url) as pbx, in_background(pbx.blobs.upload(DATA)) as [uploading]:
            await until(lambda: "begin" in uploads.steps)
            uploading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            gate.set()
        assert uploads.steps == ["begin"]
        assert not lost
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]

    @pytest.mark.parametrize("step", ["begin", "append", "complete"])
    async def test_client_that_closes(
        self, step: str, wire: WireServer, uploads: Uploads, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An upload in flight ends with the client. The PBX drops what it has after a while."""
        gate = uploads.gates[step] = asyncio.Event()
        pbx = v22(wire.url)
        async with in_background(pbx.blobs.upload(DATA)) as [uploading]:
            await until(lambda: step in uploads.steps)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await uploading
        assert "destroy" not in uploads.steps
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
        gate.set()

    async def test_failure_waits_for_the_clean_up(self, wire: WireServer, uploads: Uploads) -> None:
        """The PBX has dropped a failed upload when its error is raised."""
        uploads.script["complete"] = reply(REFUSED, 400)
        gate = uploads.gates["destroy"] = asyncio.Event()
        async with v22(wire.url) as pbx, in_background(pbx.blobs.upload(DATA)) as [uploading]:
            await until(lambda: "destroy" in uploads.steps)
            await yield_to_loop()
            assert not uploading.done()
            gate.set()
            with pytest.raises(BadRequest):
                await uploading
