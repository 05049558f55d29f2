"""The chapters of the demo that write: the whole life of an extension, and of a group.

What may be repeated, the SDK repeats. What may not (to create, to upload) is settled as an
application would, by looking whether it was done; and a telephone that may have rung is not rung
again, since nothing tells afterwards.
"""

import hashlib
import io
import secrets
import wave

from ... import NewExtension, PortSIPError, Profile
from .stage import Chapter, Stage, Step, check, unless_gone

_GREETING = "welcome.wav"
_GROUP = "Night shift"
_SURNAME = "Lovelace"


class ExtensionLife:
    """An extension, from its creation to its removal."""

    def __init__(self, stage: Stage) -> None:
        """Choose the number after the last, which nobody has."""
        self._stage = stage
        (self._number,) = stage.next_numbers(1)
        self._password = secrets.token_urlsafe(12)

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            "The life of an extension",
            (
                Step(f"create {self._number}, its reply cut off", self._create),
                Step("show it", self._show),
                Step("patch its first name", self._patch),
                Step("read its status", self._status),
                Step("upload a greeting", self._upload),
                Step("set the greeting up", self._set_up),
                Step("remove the greeting", self._remove_greeting),
                Step("let it call its neighbour", self._call),
                Step("remove it", self._remove),
            ),
        )

    async def _create(self) -> str:
        self._stage.ledger.once["extensions.create"] = (1,)
        self._stage.sim.fail("extensions.create", drop=True, act=True)
        new = NewExtension(
            extension_number=self._number,
            password=self._password,
            web_access_password=secrets.token_urlsafe(12),
            profile=Profile(first_name="Agatha", last_name=_SURNAME),
        )

        async def create() -> str:
            await self._stage.pbx.extensions.create(new)
            return self._number

        async def find() -> str | None:
            found = await unless_gone(self._stage.pbx.extensions.show(self._number))
            return None if found is None else found.extension_number

        _, told = await self._stage.settled(create, find)
        return told

    async def _show(self) -> str:
        extension = await self._stage.pbx.extensions.show(self._number)
        profile = extension.profile or Profile()
        check(profile.last_name == _SURNAME, "another extension than the one created")
        check(extension.password == self._password, "another password than the one given")
        return f"{profile.first_name} {profile.last_name}"

    async def _patch(self) -> str:
        before = await self._stage.pbx.extensions.show(self._number)
        await self._stage.pbx.extensions.patch(self._number, profile={"first_name": "Ada"})
        after = await self._stage.pbx.extensions.show(self._number)
        profile = after.profile or Profile()
        check(profile.first_name == "Ada", "the patch did not arrive")
        kept = profile.last_name == _SURNAME and after.options == before.options
        check(kept, "the patch changed what it did not name")
        return f"now {profile.first_name} {profile.last_name}, all else as it was"

    async def _status(self) -> str:
        (status,) = await self._stage.statuses([self._number])
        return f"{status.status}"

    async def _upload(self) -> str:
        self._stage.ledger.once["greetings.upload"] = (1,)
        sound = _silence(seconds=2)

        async def upload() -> str:
            await self._stage.pbx.greetings.upload(self._number, sound, filename=_GREETING)
            return _GREETING

        _, told = await self._stage.settled(upload, self._find_greeting)
        stored = self._stage.sim.greetings(self._number)[_GREETING]
        check(stored.sha256 == hashlib.sha256(sound).hexdigest(), "the file was damaged")
        return f"{told}: {stored.size:,} bytes"

    async def _find_greeting(self) -> str | None:
        files = [file.filename async for file in self._stage.pbx.greetings.list(self._number)]
        return _GREETING if _GREETING in files else None

    async def _set_up(self) -> str:
        await self._stage.pbx.greetings.setup(self._number, _GREETING)
        page = await self._stage.pbx.greetings.list(self._number)
        check(page.default_file == _GREETING, "another greeting plays")
        return f"{_GREETING} plays"

    async def _remove_greeting(self) -> str:
        self._stage.ledger.once["greetings.remove"] = (1,)
        await self._stage.pbx.greetings.remove(self._number, _GREETING)
        check(await self._find_greeting() is None, "the greeting is still there")
        return "gone"

    async def _call(self) -> str:
        self._stage.ledger.once["extensions.call"] = (1,)
        neighbour = self._stage.numbers[-1]
        try:
            await self._stage.pbx.extensions.call(
                self._number,
                neighbour,
                auth=self._password,
                domain="pbx.example",
                src=self._number,
            )
        except PortSIPError as error:
            if not error.may_have_acted:
                raise
            self._stage.in_doubt += 1
            self._stage.ledger.once["extensions.call"] = (0, 1)
            return "in doubt: may have rung, so left alone"
        check([call.to for call in self._stage.sim.calls] == [neighbour], "it rang more than once")
        return f"{neighbour} rang once"

    async def _remove(self) -> str:
        self._stage.ledger.once["extensions.remove"] = (1,)
        await self._stage.pbx.extensions.remove(self._number)
        gone = await unless_gone(self._stage.pbx.extensions.show(self._number)) is None
        check(gone, "the extension is still there")
        check(self._stage.sim.extension_numbers == self._stage.numbers, "another extension is gone")
        return f"gone; {len(self._stage.numbers):,} left, as before"


class GroupLife:
    """An extension group, from its creation to its removal."""

    def __init__(self, stage: Stage) -> None:
        """Begin without a group."""
        self._stage = stage
        self._group_id = ""

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            "The life of a group",
            (
                Step("create one with two members", self._create),
                Step("show it", self._show),
                Step("patch its description", self._patch),
                Step("add a member, take one out", self._change_members),
                Step("find it in the list", self._list),
                Step("remove it", self._remove),
            ),
        )

    async def _create(self) -> str:
        self._stage.ledger.once["groups.create"] = (1,)
        self._group_id, told = await self._stage.settled(self._add, self._find)
        return told

    async def _add(self) -> str:
        created = await self._stage.pbx.groups.create(
            _GROUP,
            enable_intercom=True,
            enable_external_call=False,
            enable_management_console_access=False,
            members=self._stage.numbers[:2],
        )
        return created.group_id

    async def _find(self) -> str | None:
        found = [
            group.group_id
            async for group in self._stage.pbx.groups.list()
            if group.group_name == _GROUP
        ]
        return found[0] if found else None

    async def _show(self) -> str:
        group = await self._stage.pbx.groups.show(self._group_id)
        check([*group.members] == self._stage.numbers[:2], "other members than those given")
        return f"{group.group_name}, members {' and '.join(group.members)}"

    async def _patch(self) -> str:
        told = "Those who answer after dark"
        await self._stage.pbx.groups.patch(self._group_id, group_description=told)
        group = await self._stage.pbx.groups.show(self._group_id)
        check(group.group_description == told, "the patch did not arrive")
        check([*group.members] == self._stage.numbers[:2], "the patch changed the members")
        return "changed, all else as it was"

    async def _change_members(self) -> str:
        out, stays, comes = self._stage.numbers[:3]
        await self._stage.pbx.groups.add_members(self._group_id, [comes])
        await self._stage.pbx.groups.remove_members(self._group_id, [out])
        group = await self._stage.pbx.groups.show(self._group_id)
        check([*group.members] == [stays, comes], "other members than those wanted")
        return f"members {' and '.join(group.members)}"

    async def _list(self) -> str:
        groups = {group.group_id: group async for group in self._stage.pbx.groups.list()}
        check([*groups] == [*self._stage.group_ids, self._group_id], f"{len(groups)} groups")
        return f"{len(groups)} groups, it among them"

    async def _remove(self) -> str:
        self._stage.ledger.once["groups.remove"] = (1,)
        await self._stage.pbx.groups.remove(self._group_id)
        gone = await unless_gone(self._stage.pbx.groups.show(self._group_id)) is None
        check(gone, "the group is still there")
        check(self._stage.sim.group_ids == self._stage.group_ids, "another group is gone")
        return f"gone; {len(self._stage.group_ids)} left, as before"


def _silence(*, seconds: int) -> bytes:
    """Record silence as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 8000 * seconds))
    return file.getvalue()
