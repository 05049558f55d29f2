"""Uploads from files that block: each occupies one thread, and nothing else."""

import asyncio
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from portsip_async import ClientClosed, PortSIPClient
from portsip_async.core.threads import THREADS, Threads
from portsip_async.simulator import PBXSimulator

from .concurrency import in_background, until, yield_to_loop

MORE = THREADS + 4  # uploads, more than there are threads
SECONDS = 2.0  # enough for a prompt action, even on a busy machine


class Stuck(io.RawIOBase):
    """A binary file that blocks reads until `go_on`; each class has its own count."""

    go_on = threading.Event()
    reading = 0
    lock = threading.Lock()

    def __init__(self) -> None:
        self.reads = 0
        self._left = [b"RIFF", b""]

    def readable(self) -> bool:
        return True

    def read(self, _: int = -1) -> bytes:
        self.reads += 1
        with self.lock:
            Stuck.reading += 1
        try:
            self.go_on.wait()
        finally:
            with self.lock:
                Stuck.reading -= 1
        return self._left.pop(0)


@pytest.fixture(autouse=True)
async def threads_end() -> AsyncIterator[None]:
    """No thread of an upload outlives its test once its file stops blocking."""
    Stuck.go_on = threading.Event()
    yield
    Stuck.go_on.set()
    await until(lambda: not upload_threads())


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    """A FIFO without a writer, so that opening it blocks."""
    path = tmp_path / "fifo.wav"
    os.mkfifo(path)
    yield path
    free(path)


def free(fifo: Path) -> None:
    """Release the thread that opens a FIFO."""
    with suppress(OSError):  # no thread opens it now
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


def upload_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "portsip-upload"]


async def still_works(pbx: PortSIPClient) -> None:
    """Check that the default executor, name resolution and other calls work at once."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        assert await loop.run_in_executor(None, lambda: 5) == 5
        assert await asyncio.to_thread(lambda: 5) == 5
        assert await loop.getaddrinfo("localhost", 80)
        assert (await pbx.extensions.show("101")).extension_number == "101"
        await pbx.greetings.upload("101", b"RIFF", filename="bytes.wav")


def stuck_uploads(pbx: PortSIPClient, count: int = MORE) -> list[Any]:
    return [pbx.greetings.upload("101", Stuck(), filename=f"{n}.wav") for n in range(count)]  # type: ignore[arg-type]  # a file


class TestHanging:
    async def test_blocked_read_blocks_nothing_else(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with in_background(*stuck_uploads(pbx)) as uploads:
            await until(lambda: Stuck.reading == THREADS)
            await still_works(pbx)
            assert len(upload_threads()) == THREADS
            Stuck.go_on.set()
            await asyncio.gather(*uploads)
        assert len(sim.greetings("101")) == MORE + 1

    async def test_blocked_open_blocks_nothing_else(self, pbx: PortSIPClient, fifo: Path) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        calls = [pbx.greetings.upload("101", fifo) for _ in range(MORE)]
        async with in_background(*calls):
            await until(lambda: len(upload_threads()) == THREADS)
            await still_works(pbx)
        for _ in range(MORE):
            await yield_to_loop()
            free(fifo)

    async def test_cancelled_at_once(self, pbx: PortSIPClient) -> None:
        async with in_background(*stuck_uploads(pbx)) as uploads:
            await until(lambda: Stuck.reading == THREADS)
            async with asyncio.timeout(SECONDS):
                for upload in uploads:
                    upload.cancel()
                await asyncio.wait(uploads)
        assert all(upload.cancelled() for upload in uploads)

    async def test_client_is_closed_at_once(self, pbx: PortSIPClient) -> None:
        async with in_background(*stuck_uploads(pbx)) as uploads:
            await until(lambda: Stuck.reading == THREADS)
            async with asyncio.timeout(SECONDS):
                await pbx.close()
                outcomes = await asyncio.gather(*uploads, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClientClosed}

    async def test_cancelled_upload_in_the_queue_reads_nothing(self, pbx: PortSIPClient) -> None:
        """If the call is cancelled before a thread begins, the file is not read."""
        async with in_background(*stuck_uploads(pbx, THREADS)):
            await until(lambda: Stuck.reading == THREADS)
            later = Stuck()
            async with in_background(pbx.greetings.upload("101", later, filename="l.wav")):  # type: ignore[arg-type]  # a file
                await asyncio.sleep(0.05)
            Stuck.go_on.set()
            await until(lambda: not upload_threads())
            assert later.reads == 0

    async def test_late_path_is_closed(self, pbx: PortSIPClient, fifo: Path) -> None:
        """A file that a thread opens after its upload was cancelled is closed."""
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        async with in_background(pbx.greetings.upload("101", fifo)):
            await until(upload_threads)
            await asyncio.sleep(0.05)
        connections = 2  # one, counted at both ends
        free(fifo)
        await until(lambda: not upload_threads())
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) <= before + connections

    async def test_program_ends(self, tmp_path: Path) -> None:
        """Neither the loop nor the interpreter waits for a file that blocks."""
        script = f"""
import asyncio, os
from portsip_async import PortSIPClient
from portsip_async.simulator import PBXSimulator

async def main():
    async with PBXSimulator() as sim:
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            try:
                async with asyncio.timeout(0.5):
                    await pbx.greetings.upload("101", {str(tmp_path / "f.wav")!r})
            except TimeoutError:
                print("given up")

os.mkfifo({str(tmp_path / "f.wav")!r})
asyncio.run(main())
"""
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(15):
                out, err = await run.communicate()
        finally:
            if run.returncode is None:
                run.kill()
                await run.wait()
        assert (out, err, run.returncode) == (b"given up\n", b"", 0)


class TestThreads:
    async def test_end_with_the_upload(
        self, pbx: PortSIPClient, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF" * 200_000)
        await asyncio.gather(
            *(pbx.greetings.upload("101", path, filename=f"{n}.wav") for n in range(20))
        )
        assert {each.size for each in sim.greetings("101").values()} == {800_000}
        await until(lambda: not upload_threads())

    @pytest.mark.parametrize("most_in_memory", [1, 1_000_000])
    async def test_file_of_a_web_framework(
        self, pbx: PortSIPClient, sim: PBXSimulator, most_in_memory: int
    ) -> None:
        """FastAPI's UploadFile has such a file, in memory or on the disk."""
        with tempfile.SpooledTemporaryFile(max_size=most_in_memory) as file:
            file.write(b"RIFF" * 1000)
            file.seek(0)
            await pbx.greetings.upload("101", file, filename="s.wav")  # type: ignore[arg-type]  # a file
            assert not file.closed
        assert sim.greetings("101")["s.wav"].size == 4000

    async def test_of_two_clients_are_their_own(
        self, pbx: PortSIPClient, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF")
        async with (
            PortSIPClient(sim.url, username=sim.username, password=sim.password) as other,
            in_background(*stuck_uploads(pbx)),
        ):
            await until(lambda: Stuck.reading == THREADS)
            async with asyncio.timeout(SECONDS):
                await other.greetings.upload("101", path)

    async def test_no_thread_left_in_the_system(
        self, pbx: PortSIPClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF")

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                await pbx.greetings.upload("101", path)
        await pbx.greetings.upload("101", path)

    async def test_call_waits_for_a_running_thread_if_no_other_can_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads = Threads(2)
        first = asyncio.ensure_future(threads.run(Stuck.go_on.wait))
        await until(upload_threads)

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            second = asyncio.ensure_future(threads.run(lambda: 5))
            await yield_to_loop()
        Stuck.go_on.set()
        assert (await first, await second) == (True, 5)

    async def test_file_that_raises_stop_iteration(self, pbx: PortSIPClient) -> None:
        """A fake file that raises StopIteration, like `Mock(side_effect=...)`, ends the upload."""
        pieces = iter([b"RIFF"])

        class Dry(io.RawIOBase):
            def read(self, _: int = -1) -> bytes:
                return next(pieces)

        async with asyncio.timeout(SECONDS):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await pbx.greetings.upload("101", Dry(), filename="a.wav")  # type: ignore[arg-type]
