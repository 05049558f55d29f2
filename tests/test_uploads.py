"""Uploads: their sources, how names are encoded, and when an upload is sent again."""

import asyncio
import gc
import io
import os
import re
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConnectError,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    Timeout,
    TransportError,
)
from portsip_async.core.upload import CHUNK, source_of
from portsip_async.simulator import PBXSimulator

from .clocks import set_clock
from .concurrency import until
from .wire_server import TOKEN, Arrival, WireServer, reply, silence

ROW = "greetings.upload"
# More than one chunk, but not a multiple of the chunk size.
DATA = bytes(range(256)) * 1111 + b"end"
NO_PAUSE = RetryPolicy(initial=0, maximum=0)


async def pieces(data: bytes = DATA, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Pipe(io.RawIOBase):
    """A binary file that is not seekable."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


class Iterable:
    """An async iterable that is not a generator."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return pieces()


def on_disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.wav"
    path.write_bytes(DATA)
    return path


def at_an_offset(tmp_path: Path) -> Any:
    # The test closes it. The upload begins after the first five bytes.
    file = tempfile.TemporaryFile(dir=tmp_path)  # noqa: SIM115 - the test closes it
    file.write(b"skip " + DATA)
    file.seek(5)
    return file


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": on_disk,
    "text path": lambda tmp_path: str(on_disk(tmp_path)),
    "bytes": lambda _: DATA,
    "bytearray": lambda _: bytearray(DATA),
    "memoryview": lambda _: memoryview(DATA),
    "BytesIO": lambda _: io.BytesIO(DATA),
    "file at an offset": at_an_offset,
    "pipe": lambda _: Pipe(DATA),
    "generator": lambda _: pieces(),
    "iterable": lambda _: Iterable(),
}
REPLAYABLE = ["path", "text path", "bytes", "bytearray", "BytesIO", "file at an offset"]
# These sources can be read only once.
READABLE_ONCE = ["pipe", "generator", "iterable"]


SourceMaker = Callable[[str], Any]


@pytest.fixture
def make_source(tmp_path: Path) -> Iterator[SourceMaker]:
    made: list[Any] = []

    def make(name: str) -> Any:
        made.append(SOURCES[name](tmp_path))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "close"):
            each.close()


def uploaded(sim: PBXSimulator, name: str = "a.wav") -> tuple[int | None, str | None]:
    greeting = sim.greetings("101")[name]
    return greeting.size, greeting.sha256


WHOLE = (len(DATA), sha256(DATA).hexdigest())


class Form:
    """A form as it was sent, read without a library's parser."""

    def __init__(self, arrival: Arrival) -> None:
        match = re.fullmatch(
            r"multipart/form-data; boundary=\"?([\w'-]+)\"?", arrival.headers["content-type"]
        )
        assert match is not None
        before, *parts, after = arrival.body.split(b"--" + match[1].encode())
        assert (before, after) == (b"", b"--\r\n")
        self.parts = []
        for part in parts:
            head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            assert len(headers) == len(lines)
            self.parts.append((headers, body.removesuffix(b"\r\n")))

    def dispositions(self) -> list[str]:
        return [headers["Content-Disposition"] for headers, _ in self.parts]


class TestSources:
    @pytest.mark.parametrize("name", SOURCES)
    async def test_upload_arrives_complete(
        self, name: str, make_source: SourceMaker, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Each kind of source arrives byte for byte."""
        await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert uploaded(sim) == WHOLE

    @pytest.mark.parametrize("name", SOURCES)
    async def test_length_of_the_source(
        self, name: str, make_source: SourceMaker, wire: WireServer
    ) -> None:
        """A known length is sent. Otherwise the upload is sent in chunks."""
        wire.script = [reply()]
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        arrival = wire.arrivals[0]
        if name in READABLE_ONCE:
            assert arrival.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in arrival.headers
        else:
            assert arrival.headers["content-length"] == str(len(arrival.body))
            assert "transfer-encoding" not in arrival.headers
        assert Form(arrival).parts[-1][1] == DATA

    @pytest.mark.parametrize("name", ["file at an offset", "BytesIO", "pipe"])
    async def test_file_of_the_caller_stays_open(
        self, name: str, make_source: SourceMaker, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """This also holds if the upload fails."""
        file = make_source(name)
        await pbx.greetings.upload("101", file, filename="a.wav")
        assert not file.closed
        assert file.read() == b""
        sim.fail(ROW, status=400)
        with pytest.raises(APIError):
            await pbx.greetings.upload("101", file, filename="a.wav")
        assert not file.closed

    async def test_empty_source(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """An empty upload is sent, and the PBX decides about it."""
        file = io.BytesIO(DATA)
        file.seek(0, os.SEEK_END)
        await pbx.greetings.upload("101", file, filename="a.wav")
        await pbx.greetings.upload("101", b"", filename="b.wav")
        assert uploaded(sim)[0] == uploaded(sim, "b.wav")[0] == 0

    async def test_bytes_are_copied_at_the_call(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A bytearray that changes after the call is uploaded as it was at the call."""
        data = bytearray(DATA)
        sim.fail(ROW, latency=0.02)
        sending = asyncio.create_task(pbx.greetings.upload("101", data, filename="a.wav"))
        await asyncio.sleep(0)
        data[:5] = b"XXXXX"
        await sending
        assert uploaded(sim) == WHOLE

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            (io.StringIO("text"), TypeError),
            (["a", "b"], TypeError),
            (None, TypeError),
            (7, TypeError),
            (b"", None),
        ],
    )
    async def test_unusable_source(
        self, given: Any, error: type[Exception] | None, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Anything that can't be uploaded is refused before anything is sent."""
        if error is not None:
            with pytest.raises(error):
                await pbx.greetings.upload("101", given, filename="a.wav")
            assert sim.served == {}
        else:
            with pytest.raises(ValueError, match="pass filename="):
                await pbx.greetings.upload("101", given)

    async def test_file_opened_as_text(
        self, tmp_path: Path, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        text: Any
        with (
            on_disk(tmp_path).open(encoding="latin-1") as text,
            pytest.raises(TypeError, match="binary mode"),
        ):
            await pbx.greetings.upload("101", text, filename="a")
        assert sim.served == {}

    async def test_missing_path(
        self, tmp_path: Path, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        with pytest.raises(FileNotFoundError):
            await pbx.greetings.upload("101", tmp_path / "none.wav")
        with pytest.raises(IsADirectoryError):
            await pbx.greetings.upload("101", tmp_path)
        assert sim.served[ROW] == 0

    @pytest.mark.parametrize("chunk", ["text", 7, None])
    async def test_iterator_of_other_types(
        self, chunk: Any, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        async def chunks() -> AsyncIterator[Any]:
            yield b"RIFF"
            yield chunk

        with pytest.raises(TypeError, match="must yield bytes, got"):
            await pbx.greetings.upload("101", chunks(), filename="a.wav")
        assert sim.acted[ROW] == 0
        assert sim.greetings("101") == {}


class TestMemory:
    SIZE = 64 * 2**20

    @pytest.mark.parametrize("kind", ["generator", "path"])
    async def test_upload_is_streamed(
        self, kind: str, tmp_path: Path, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """At most a few chunks are in memory, however long an upload is."""
        given: Any = tmp_path / "large.wav"
        with given.open("wb") as file:
            file.truncate(self.SIZE)
        if kind == "generator":
            given = pieces_of_zero(self.SIZE)
        await pbx.extensions.show("101")
        tracemalloc.start()
        try:
            await pbx.greetings.upload("101", given, filename="a.wav")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert uploaded(sim)[0] == self.SIZE
        assert peak < 8 * 2**20

    async def test_source_is_read_only_as_it_is_sent(self, wire: WireServer) -> None:
        """While the PBX takes no bytes, the source is not read ahead."""
        taken = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(CHUNK)

        async with (
            stalled() as url,
            PortSIPClient(url, token=TOKEN, timeout=Timeout(total=0.01, read=0.2)) as pbx,
        ):
            with pytest.raises(RequestTimeout) as caught:
                await pbx.greetings.upload("101", chunks(), filename="a.wav")
        assert caught.value.may_have_acted
        assert caught.value.attempts == 1
        assert taken < 200  # what the sockets of both sides buffer


async def pieces_of_zero(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // CHUNK):
        yield bytes(CHUNK)


class stalled:  # noqa: N801 - used as a function
    """Start a server that reads the head of a request, but not its body."""

    async def __aenter__(self) -> str:
        self._done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await self._done.wait()
            writer.transport.abort()

        self._server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        self._server.close()


class TestReplay:
    @pytest.mark.parametrize("name", REPLAYABLE)
    async def test_replay_after_a_rejected_token(
        self, name: str, make_source: SourceMaker, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A source that can be read again is sent from its start, with the new token."""
        await pbx.extensions.show("101")
        sim.revoke()
        await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert uploaded(sim) == WHOLE
        assert (sim.served[ROW], sim.rejected[ROW]) == (2, 1)

    @pytest.mark.parametrize("name", READABLE_ONCE)
    async def test_no_replay_of_a_consumed_source(
        self, name: str, make_source: SourceMaker, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A source that was read once can't be sent again, and the error says so."""
        await pbx.extensions.show("101")
        sim.revoke()
        with pytest.raises(AuthenticationError, match="can be read only once") as caught:
            await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert not caught.value.may_have_acted
        assert (sim.served[ROW], sim.acted[ROW]) == (1, 0)
        assert sim.greetings("101") == {}
        await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert uploaded(sim) == WHOLE

    @pytest.mark.parametrize("name", SOURCES)
    @pytest.mark.parametrize(
        ("script", "error"),
        [({"status": 429}, RateLimited), ({"status": 503, "retry_after": 0}, ServerError)],
    )
    async def test_retry_after_a_rate_limit(
        self,
        name: str,
        script: dict[str, Any],
        error: type[PortSIPError],
        make_source: SourceMaker,
        pbx: PortSIPClient,
        sim: PBXSimulator,
    ) -> None:
        """If the PBX can't have acted, the upload is retried if its source can be read again."""
        sim.fail(ROW, **script)
        if name in READABLE_ONCE:
            with pytest.raises(error, match="can be read only once"):
                await pbx.greetings.upload("101", make_source(name), filename="a.wav")
            assert (sim.served[ROW], sim.acted[ROW]) == (1, 0)
        else:
            await pbx.greetings.upload("101", make_source(name), filename="a.wav")
            assert uploaded(sim) == WHOLE
            assert sim.served[ROW] == 2

    @pytest.mark.parametrize("name", ["bytes", "path", "generator"])
    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ({"drop": True}, TransportError),
            ({"drop": True, "act": True}, TransportError),
            ({"truncate": True}, TransportError),
            ({"status": 500}, ServerError),
            ({"status": 503}, ServerError),
        ],
    )
    async def test_no_retry_after_a_lost_reply(
        self,
        name: str,
        script: dict[str, Any],
        error: type[PortSIPError],
        make_source: SourceMaker,
        pbx: PortSIPClient,
        sim: PBXSimulator,
    ) -> None:
        """An upload that the PBX may have carried out is not retried, whatever its source."""
        sim.fail(ROW, **script)
        with pytest.raises(error) as caught:
            await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert caught.value.may_have_acted
        assert "only once" not in str(caught.value)
        assert sim.served[ROW] == 1

    @pytest.mark.parametrize("name", SOURCES)
    async def test_retry_after_a_refused_connection(
        self, name: str, make_source: SourceMaker, wire: WireServer
    ) -> None:
        """Without a connection nothing was read, not even from an iterator."""
        await wire.leave()
        wire.script = [reply()]
        pbx = PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE)

        async def pause(_: float) -> None:
            await wire.__aenter__()

        set_clock(pbx, sleep=pause)
        async with pbx:
            await pbx.greetings.upload("101", make_source(name), filename="a.wav")
        assert Form(wire.arrivals[0]).parts[-1][1] == DATA

    async def test_permanent_refusal(self, wire: WireServer) -> None:
        """The error does not blame an iterator that was not read."""
        await wire.leave()
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
            with pytest.raises(ConnectError) as caught:
                await pbx.greetings.upload("101", pieces(), filename="a.wav")
        assert caught.value.attempts == 4
        assert "only once" not in str(caught.value)

    @pytest.mark.parametrize("name", ["bytes", "file at an offset", "path"])
    @pytest.mark.parametrize("closes", [True, False])
    async def test_refusal_during_the_upload(self, closes: bool, name: str, tmp_path: Path) -> None:
        """A reply before the end of an upload is read. The next attempt is complete."""
        large = os.urandom(2**20) * 8
        path = tmp_path / "large.wav"
        path.write_bytes(b"skip " * (name != "path") + large)
        digests: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            match = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert match is not None
            if not digests:
                digests.append("refused")
                writer.write(reply({}, 429, {"Connection": "close" if closes else "keep-alive"}))
                await writer.drain()
                if not closes:
                    await reader.read()  # until the client closes the connection
            else:
                body = await reader.readexactly(int(match[1]))
                start = body.index(b"\r\n\r\n", body.index(b'name="file"')) + 4
                digests.append(sha256(body[start : start + len(large)]).hexdigest())
                writer.write(reply())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**16) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with path.open("rb") as file:
                file.seek(5)
                given: Any = {"bytes": large, "path": path}.get(name, file)
                async with PortSIPClient(url, token=TOKEN, retry=NO_PAUSE) as pbx:
                    await pbx.greetings.upload("101", given, filename="a.wav")
        assert digests == ["refused", sha256(large).hexdigest()]


class TestFailingSources:
    @pytest.mark.parametrize(
        "error",
        [RuntimeError("mine"), OSError(5, "disk"), TimeoutError("mine"), KeyError("mine")],
        ids=repr,
    )
    @pytest.mark.parametrize("after", [0, 1, 9])
    async def test_error_of_the_source(
        self, error: Exception, after: int, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The call raises the error of the source, and the PBX stores no partial file."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(after):
                yield bytes(CHUNK)
            raise error

        with pytest.raises(type(error)) as caught:
            await pbx.greetings.upload("101", chunks(), filename="a.wav")
        assert caught.value is error
        assert sim.served[ROW] <= 1
        assert sim.acted[ROW] == 0
        assert sim.greetings("101") == {}
        assert (await pbx.extensions.show("101")).extension_number == "101"

    async def test_error_of_a_file(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        class Failing(Pipe):
            def read(self, size: int = -1) -> bytes:
                raise OSError(5, "disk")

        file: Any = Failing(b"")
        with pytest.raises(OSError, match="disk"):
            await pbx.greetings.upload("101", file, filename="a.wav")
        assert sim.acted[ROW] == 0

    @pytest.mark.parametrize("change", [-1, -len(DATA), 1, 300_000])
    async def test_file_that_changes(
        self, change: int, pbx: PortSIPClient, sim: PBXSimulator
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
            await pbx.greetings.upload("101", Changing(DATA), filename="a.wav")
        assert sim.acted[ROW] == 0
        assert sim.served[ROW] <= 1


class TestNames:
    @pytest.mark.parametrize(
        ("name", "sent"),
        [
            ("plain.wav", "plain.wav"),
            ("with space.wav", "with space.wav"),
            ("grüße-日本-🎵.wav", "grüße-日本-🎵.wav"),
            ("a;b=c,d.wav", "a;b=c,d.wav"),
            ("per%20cent.wav", "per%20cent.wav"),
            ("back\\slash.wav", "back\\slash.wav"),
            ('qu"ote.wav', "qu%22ote.wav"),
            ("li\r\nX-Evil: 1\r\n\r\nne.wav", "li%0D%0AX-Evil: 1%0D%0A%0D%0Ane.wav"),
            ('"; name="extension_number', "%22; name=%22extension_number"),
            ("nu\0ll.wav", "nu%00ll.wav"),
            ("bell\a\x7f.wav", "bell%07%7F.wav"),
            ("it's.wav", "it's.wav"),
            ("../../etc/passwd", "../../etc/passwd"),
        ],
    )
    async def test_filename_is_encoded(
        self,
        name: str,
        sent: str,
        wire: WireServer,
        pbx: PortSIPClient,
        sim: PBXSimulator,
    ) -> None:
        """A name is sent as UTF-8, can't end its quotes or its line, and arrives unchanged."""
        wire.script = [reply()]
        async with PortSIPClient(wire.url, token=TOKEN) as other:
            await other.greetings.upload("101", DATA, filename=name)
        form = Form(wire.arrivals[0])
        assert form.dispositions() == [
            'form-data; name="extension_number"',
            'form-data; name="filename"',
            f'form-data; name="file"; filename="{sent}"',
        ]
        assert [body for _, body in form.parts] == [b"101", name.encode(), DATA]
        await pbx.greetings.upload("101", DATA, filename=name)
        assert uploaded(sim, name) == WHOLE

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a.wav", "audio/x-wav"),
            ("a.mp3", "audio/mpeg"),
            ("a", "application/octet-stream"),
            ("a.\r\nX: y", "application/octet-stream"),
            ("data:a/b\r\nX-Evil: 1,", "application/octet-stream"),
            ("data:a/b,.wav", "audio/x-wav"),
        ],
    )
    async def test_content_type_follows_the_name(
        self, name: str, kind: str, wire: WireServer
    ) -> None:
        wire.script = [reply()]
        async with PortSIPClient(wire.url, token=TOKEN) as pbx:
            await pbx.greetings.upload("101", DATA, filename=name)
        headers = Form(wire.arrivals[0]).parts[-1][0]
        assert headers["Content-Type"] in (kind, kind.replace("x-wav", "wav"))

    async def test_filename_of_the_source(
        self, tmp_path: Path, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A path and an open file have names. The argument `filename` replaces them."""
        path = on_disk(tmp_path)
        await pbx.greetings.upload("101", path)
        with path.open("rb") as file:
            await pbx.greetings.upload("102", file)
            await pbx.greetings.upload("103", file, filename="mine.wav")
        assert [*sim.greetings("101")] == [*sim.greetings("102")] == ["disk.wav"]
        assert [*sim.greetings("103")] == ["mine.wav"]

    @pytest.mark.parametrize(
        "source", [b"a", io.BytesIO(b"a"), Pipe(b"a"), Iterable()], ids=lambda s: type(s).__name__
    )
    async def test_source_without_a_filename(
        self, source: Any, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        with pytest.raises(ValueError, match="pass filename="):
            await pbx.greetings.upload("101", source)
        assert sim.served == {}

    def test_file_of_a_descriptor_has_no_filename(self, tmp_path: Path) -> None:
        """A file that was opened by its descriptor has no name."""
        with open(os.open(on_disk(tmp_path), os.O_RDONLY), "rb") as file:
            assert source_of(file).name is None


class TestTime:
    async def test_no_total_timeout_and_no_deadline(self, sim: PBXSimulator) -> None:
        """Neither `total` nor the deadline ends an upload that makes progress."""

        async def slow() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"RIFF"
                await asyncio.sleep(0.05)

        policy = RetryPolicy(deadline=0.1)
        async with PortSIPClient(
            sim.url, username=sim.username, password=sim.password, timeout=0.1, retry=policy
        ) as pbx:
            await pbx.greetings.upload("101", slow(), filename="a.wav")
        assert uploaded(sim)[0] == 24

    async def test_deadline_does_not_prevent_a_retry(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """An upload is retried as late as the PBX asks, even after the deadline."""
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        set_clock(pbx, sleep=pause)
        sim.fail(ROW, status=429, retry_after=3600)
        view = pbx.with_options(retry=RetryPolicy(deadline=1.0))
        await view.greetings.upload("101", DATA, filename="a.wav")
        assert pauses == [3600.0]
        assert uploaded(sim) == WHOLE

    async def test_read_timeout_after_the_upload(self, wire: WireServer) -> None:
        """`read` limits the wait for a reply after the upload."""
        wire.script = [silence]
        timeout = Timeout(total=None, read=0.05)
        async with PortSIPClient(wire.url, token=TOKEN, timeout=timeout, retry=NO_PAUSE) as pbx:
            with pytest.raises(RequestTimeout) as caught:
                await pbx.greetings.upload("101", DATA, filename="a.wav")
        assert caught.value.may_have_acted
        assert len(wire.arrivals) == 1

    async def test_read_timeout_during_the_upload(self, tmp_path: Path) -> None:
        """`read` also applies if the PBX stops taking bytes. The caller's file stays open."""
        with tempfile.TemporaryFile(dir=tmp_path) as file:
            file.truncate(2**26)
            async with (
                stalled() as url,
                PortSIPClient(url, token=TOKEN, timeout=Timeout(total=None, read=0.1)) as pbx,
            ):
                with pytest.raises(RequestTimeout):
                    await pbx.greetings.upload("101", file, filename="a.wav")
            assert not file.closed

    async def test_connect_timeout(self, wire: WireServer) -> None:
        timeout = Timeout(total=None, connect=0.05)
        url = wire.url.replace("http:", "https:")
        async with PortSIPClient(url, token=TOKEN, timeout=timeout, retry=NO_PAUSE) as pbx:
            with pytest.raises(ConnectError) as caught:
                await pbx.greetings.upload("101", pieces(), filename="a.wav")
        assert caught.value.attempts == 4


class TestCancellation:
    async def test_cancellation_during_the_upload(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The cancellation ends the upload and its connection at once."""
        begun = asyncio.Event()
        ended = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"RIFF"
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        sending = asyncio.create_task(pbx.greetings.upload("101", chunks(), filename="a.wav"))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(sending, 4)
        await asyncio.wait_for(ended.wait(), 4)
        assert sim.acted[ROW] == 0
        assert (await pbx.extensions.show("101")).extension_number == "101"

    async def test_cancellation_while_a_file_is_read(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A blocked file blocks nothing else, and is never read by two threads."""
        go = threading.Event()
        reading = threading.Event()

        class Hanging(Pipe):
            def read(self, size: int = -1) -> bytes:
                reading.set()
                go.wait(5)
                return super().read(size)

        file: Any = Hanging(DATA)
        sending = asyncio.create_task(pbx.greetings.upload("101", file, filename="a.wav"))
        await asyncio.to_thread(reading.wait, 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(sending, 4)
        go.set()
        assert not file.closed
        assert sim.acted[ROW] == 0

    async def test_cancellation_while_a_path_is_opened(
        self, tmp_path: Path, pbx: PortSIPClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that opens after the cancellation is closed."""
        path = on_disk(tmp_path)
        await pbx.extensions.show("101")
        go, opening = threading.Event(), threading.Event()
        opened: list[Any] = []
        original = Path.open

        def slow(self: Path, *args: Any, **kwargs: Any) -> Any:
            opening.set()
            go.wait(5)
            opened.append(original(self, *args, **kwargs))
            return opened[-1]

        monkeypatch.setattr(Path, "open", slow)
        sending = asyncio.create_task(pbx.greetings.upload("101", path))
        await asyncio.to_thread(opening.wait, 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(sending, 4)
        go.set()
        for _ in range(100):
            if opened and opened[0].closed:
                break
            await asyncio.sleep(0.01)
        assert opened[0].closed

    @pytest.mark.parametrize("script", [{}, {"status": 500}, {"drop": True}])
    async def test_opened_file_is_closed(
        self,
        script: dict[str, Any],
        tmp_path: Path,
        pbx: PortSIPClient,
        sim: PBXSimulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A file that the SDK opened is closed, however the upload ends."""
        opened: list[Any] = []
        original = Path.open

        def noting(self: Path, *args: Any, **kwargs: Any) -> Any:
            opened.append(original(self, *args, **kwargs))
            return opened[-1]

        path = on_disk(tmp_path)
        monkeypatch.setattr(Path, "open", noting)
        if script:
            sim.fail(ROW, **script)
            with pytest.raises(PortSIPError):
                await pbx.greetings.upload("101", path)
        else:
            await pbx.greetings.upload("101", path)
        # After a broken connection, a thread may still be reading.
        await until(lambda: all(file.closed for file in opened))
        assert len(opened) == 1

    async def test_client_closed_during_the_upload(self, sim: PBXSimulator) -> None:
        """Closing the client ends an upload in flight, which may have acted."""
        begun = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield b"RIFF"
            begun.set()
            await asyncio.Event().wait()

        pbx = PortSIPClient(sim.url, username=sim.username, password=sim.password)
        sending = asyncio.create_task(pbx.greetings.upload("101", chunks(), filename="a.wav"))
        await begun.wait()
        await pbx.close()
        with pytest.raises(ClientClosed) as caught:
            await sending
        assert caught.value.may_have_acted


async def test_opened_file_is_closed_without_a_token(
    sim: PBXSimulator, make_client: Any, tmp_path: Path
) -> None:
    """A file that was opened for an attempt is closed even if nothing is sent."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    pbx = make_client(username="admin", password="wrong")
    with pytest.raises(AuthenticationError):
        await pbx.greetings.upload("101", path)
    gc.collect()  # an unclosed file causes a warning, which is an error here
    assert sim.served["greetings.upload"] == 0
