"""Greetings: the upload of a file, and the greeting that is made of it."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from portsip_async import NotFound, PortSIPError, ServerError, TransportError
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient

from ..concurrency import in_background, until
from ..test_uploads import DATA


async def test_life_of_a_greeting(pbx22: PortSIPClient, sim: PBXSimulator, tmp_path: Path) -> None:
    """It is uploaded, enabled, disabled and removed."""
    user_id = sim.v22.user_id("101")
    path = tmp_path / "hello.wav"
    path.write_bytes(DATA)
    assert await pbx22.greetings.list(user_id) == []
    first = await pbx22.greetings.upload(user_id, path)
    second = await pbx22.greetings.upload(user_id, b"RIFF", filename="b.wav")
    listed = {each.id: each for each in await pbx22.greetings.list(user_id)}
    assert (listed[first].file_name, listed[first].file_size) == ("hello.wav", len(DATA))
    assert (listed[second].file_name, listed[second].file_size) == ("b.wav", 4)
    assert not listed[second].enabled
    assert {file.sha256 for file in sim.v22.files.values()} == {
        sha256(DATA).hexdigest(),
        sha256(b"RIFF").hexdigest(),
    }
    await pbx22.greetings.enable(user_id, second)
    assert [each.id for each in await pbx22.greetings.list(user_id) if each.enabled] == [second]
    await pbx22.greetings.disable(user_id, second)
    assert not [each for each in await pbx22.greetings.list(user_id) if each.enabled]
    await pbx22.greetings.remove(user_id, first)
    assert [each.id for each in await pbx22.greetings.list(user_id)] == [second]


async def test_greeting_of_an_uploaded_file(pbx22: PortSIPClient, sim: PBXSimulator) -> None:
    user_id = sim.v22.user_id("101")
    file_id = await pbx22.blobs.upload(DATA, filename="a.wav")
    greeting_id = await pbx22.greetings.create(user_id, file_id)
    assert [each.id for each in await pbx22.greetings.list(user_id)] == [greeting_id]
    with pytest.raises(PortSIPError):
        await pbx22.greetings.create(user_id, "nothing")
    with pytest.raises(NotFound):
        await pbx22.greetings.list("nobody")


@pytest.mark.parametrize(
    ("script", "error", "acted"),
    [
        ({"status": 404}, NotFound, False),
        ({"status": 500}, ServerError, True),
        ({"drop": True}, TransportError, True),
        ({"drop": True, "act": True}, TransportError, True),
    ],
    ids=str,
)
async def test_upload_without_a_greeting(
    script: dict[str, object],
    error: type[PortSIPError],
    acted: bool,
    pbx22: PortSIPClient,
    sim: PBXSimulator,
) -> None:
    """If the file arrived but the greeting failed, the error shows the file's id."""
    user_id = sim.v22.user_id("101")
    sim.v22.fail("greetings.create", **script)  # type: ignore[arg-type]  # they are fail's own
    with pytest.raises(error, match="the file was uploaded and has the id") as caught:
        await pbx22.greetings.upload(user_id, DATA, filename="a.wav")
    assert caught.value.operation == "greetings.create"
    assert caught.value.may_have_acted == acted
    [file_id] = sim.v22.files
    assert file_id in str(caught.value)
    assert sim.v22.served["greetings.create"] == 1
    assert sim.v22.served["blobs.destroy"] == 0
    if not acted:
        await pbx22.greetings.create(user_id, file_id)
        assert len(await pbx22.greetings.list(user_id)) == 1


async def test_upload_that_fails(pbx22: PortSIPClient, sim: PBXSimulator) -> None:
    """No greeting is made of a file that did not arrive."""
    sim.v22.fail("blobs.complete", status=400)
    with pytest.raises(PortSIPError) as caught:
        await pbx22.greetings.upload(sim.v22.user_id("101"), DATA, filename="a.wav")
    assert caught.value.operation == "blobs.complete"
    assert "was uploaded" not in str(caught.value)
    assert sim.v22.served["greetings.create"] == 0
    assert not sim.v22.uploads


async def test_upload_that_is_cancelled(pbx22: PortSIPClient, sim: PBXSimulator) -> None:
    """An unfinished upload is destroyed."""
    reading = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"RIFF"
        reading.set()
        await asyncio.Event().wait()

    uploading = pbx22.greetings.upload(sim.v22.user_id("101"), chunks(), filename="a.wav")
    async with in_background(uploading) as [task]:
        await reading.wait()
        assert sim.v22.uploads
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: not sim.v22.uploads)
    assert sim.v22.served["greetings.create"] == 0
