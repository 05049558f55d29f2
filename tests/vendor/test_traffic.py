"""The client works with the simulator through Prism, and nothing violates the vendor's document.

Prism stands between the two as a proxy, and checks the requests and the replies.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from portsip_async import NotFound, TwoFactorRequired
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import (
    BLF,
    CustomForwardRule,
    DayHours,
    ForwardRule,
    NewUser,
    OfficeHours,
    OutboundCallerID,
    PortSIPClient,
    TimeRange,
    UserChanges,
    UserSettings,
    WeekHours,
)
from portsip_async.v22.operations import (
    BLOBS_BEGIN,
    BLOBS_DESTROY,
    BLOBS_STATUS,
    GROUPS_MEMBER,
    USERS_OWN,
)

from ..conftest import QUICK
from .conftest import Proxy
from .document import Document
from .plain_requests import RECORDING
from .tap import Tap

pytestmark = [pytest.mark.vendor, pytest.mark.timeout(120)]

# The SDK neither logs in with cookies nor downloads.
UNUSED = {"GET /api/login", "POST /api/login", "POST /api/logout", "GET /api/blobs/{digest}"}
UNUSED |= {"POST /api/auth/send_otp", "POST /api/auth/verify_otp"}  # see test_second_factor


def new_user(turn: int) -> NewUser:
    return NewUser(
        name=f"ann{turn}",
        display_name=f'Änn "O\'Neil" 好 {turn}',
        email=f"ann{turn}@test.io",
        role="StandardUser",
        extension_number=f"95{turn}",
        password="Web+Secret/1&=",
        extension_password="Sip%Secret 2",
        voicemail_pin="135790",
    )


DAY = DayHours(enabled=True, ranges=(TimeRange(from_="09:00", to="12:30"),))
SETTINGS = UserSettings(
    department="Sales & Support",
    sms="ALLOW",
    delivery_outbound_cid=False,
    outbound_caller_ids=(OutboundCallerID(caller_id="+49 30 1", preferred=True),),
    office_hours=OfficeHours(mode="CUSTOM", monday=DAY, sunday=DayHours(enabled=False)),
    busy_no_answer_forward_rule=ForwardRule(action="HANGUP", timeout=20),
    custom_forward_rules=(
        CustomForwardRule(action="HANGUP", type="SPECIFIC_HOURS", hours=WeekHours(monday=DAY)),
    ),
    voicemail_play_datetime="24_HOUR_CLOCK",
    blfs=(BLF(key="BLF", value="100", first_name="Bo", last_name="Li"),),
)


class Setting:
    """A simulator behind Prism, and a client of it."""

    def __init__(self, sim: PBXSimulator, tap: Tap, connect: Callable[..., PortSIPClient]) -> None:
        self.sim = sim
        self.tap = tap
        self.connect = connect
        self.pbx = connect()


@asynccontextmanager
async def behind_prism(proxy: Proxy, document: Document, **options: Any) -> AsyncIterator[Setting]:
    async with PBXSimulator(extensions=150, groups=3, **options) as sim:
        with proxy(sim.url) as url:
            async with Tap(url, document) as tap:

                def connect(**login: Any) -> PortSIPClient:
                    admin = {"username": sim.username, "password": sim.password}
                    arguments = {"domain": sim.domain, "retry": QUICK, **(login or admin)}
                    return PortSIPClient(tap.url, **arguments)

                setting = Setting(sim, tap, connect)
                try:
                    async with setting.pbx:
                        yield setting
                finally:
                    assert tap.violations == []


async def accounts(at: Setting) -> None:
    assert (await at.pbx.info()).domain == at.sim.domain
    assert (await at.pbx.auth.user()).role
    await at.pbx.auth.refresh()
    await at.pbx.auth.user()
    at.sim.v22.revoke()
    await at.pbx.auth.user()
    async with at.connect() as other:
        await other.auth.user()
        await other.auth.sign_out()


async def users(at: Setting) -> None:
    pbx = at.pbx
    ann = await pbx.users.create(new_user(0))
    assert (await pbx.users.find("950")).id == ann
    await pbx.users.update(ann, SETTINGS)
    shown = await pbx.users.show(ann)
    assert (shown.blfs, shown.office_hours) == (SETTINGS.blfs, SETTINGS.office_hours)
    merged = await pbx.users.patch(ann, {"department": "Sales", "enable_dnd": True})
    assert (merged.department, merged.blfs) == ("Sales", SETTINGS.blfs)
    await pbx.users.set_password(ann, "Another=1&2")
    await pbx.users.set_extension_password(ann, "Third/3 %")
    await pbx.users.set_role(ann, "StandardUser")
    await pbx.users.status(ann)
    async with at.connect(username="ann0", password="Another=1&2") as own:
        await own.users.set_own_presence("AWAY", "à bientôt")
        assert (await own.users.own_status()).presence_note == "à bientôt"
        assert (await own.request(USERS_OWN)).id == ann
    found = [user.id async for user in pbx.users.list(filter="extension_number eq '950'")]
    assert found == [ann]
    assert len([user async for user in pbx.users.list(page_size=30, orderby="name desc")]) == 151
    await pbx.users.remove(ann)
    for missing in (ann, "a/b", "a?b", "a%2Fb"):
        with pytest.raises(NotFound):
            await pbx.users.show(missing)


async def many_users(at: Setting) -> None:
    pbx = at.pbx
    new = [new_user(turn) for turn in range(1, 9)]
    created = {each.key: each async for each in pbx.users.create_many([*new, new[0]])}
    ids = [str(each.value) for each in created.values() if each.error is None]
    assert len(ids) >= 7
    patches: list[tuple[str, UserChanges]] = [(user_id, {"department": "Sales"}) for user_id in ids]
    assert [each.error async for each in pbx.users.patch_many(patches)] == [None] * len(ids)
    assert [each.error async for each in pbx.users.remove_many(ids)] == [None] * len(ids)


async def extensions(at: Setting) -> None:
    pbx = at.pbx
    numbers = at.sim.extension_numbers[:60]
    assert len([user async for user in pbx.extensions.list()]) >= 150
    assert [user async for user in pbx.extensions.search(numbers[0])]
    assert (await pbx.extensions.show(numbers[0])).extension_number == numbers[0]
    await pbx.extensions.patch(numbers[0], {"display_name": "É & Co"})
    states = await pbx.extensions.status(numbers[:3])
    assert [state.extension_number for state in states] == numbers[:3]
    results = [each async for each in pbx.extensions.poll_status(numbers)]
    assert [each.error for each in results] == [None] * len(numbers)
    async with pbx.extensions.watch_status(numbers[:3], source="poll") as watch:
        async for change in watch:
            assert change.before is None
            break
    session = await pbx.extensions.call(
        numbers[0], numbers[1], auth="secret", domain=at.sim.domain, src=numbers[0]
    )
    assert session
    await pbx.extensions.remove(at.sim.extension_numbers[-1])


async def groups(at: Setting) -> None:
    pbx = at.pbx
    numbers = at.sim.extension_numbers[:3]
    sales = await pbx.groups.create("Säles", description="We & they")
    caller_ids = (OutboundCallerID(caller_id="+49 30 1"),)
    await pbx.groups.update(sales, name="Sales", outbound_caller_ids=caller_ids)
    assert (await pbx.groups.show(sales)).description == "We & they"
    assert sales in [group.id async for group in pbx.groups.list(search="Sales")]
    await pbx.groups.add_members(sales, numbers)
    await pbx.groups.remove_members(sales, numbers[1:])
    assert [each.extension_number for each in await pbx.groups.members(sales)] == numbers[:1]
    assert await pbx.request(GROUPS_MEMBER, id=sales, extension_number=numbers[0])
    await pbx.groups.remove(sales)


async def greetings(at: Setting) -> None:
    pbx = at.pbx
    user = (await pbx.users.find(at.sim.extension_numbers[0])).id
    first = await pbx.greetings.upload(user, RECORDING, filename="a b&c.wav")
    second = await pbx.greetings.create(user, await pbx.blobs.upload(RECORDING))
    await pbx.greetings.enable(user, first)
    await pbx.greetings.disable(user, first)
    assert [greeting.id for greeting in await pbx.greetings.list(user)] == [first, second]
    await pbx.greetings.remove(user, first)
    begun = await pbx.request(BLOBS_BEGIN, filename="unused.wav")
    await pbx.request(BLOBS_STATUS, id=begun.id)
    await pbx.request(BLOBS_DESTROY, id=begun.id)


async def calls(at: Setting) -> None:
    pbx = at.pbx
    caller, callee = at.sim.extension_numbers[:2]
    session = await pbx.calls.create(caller, callee, caller_display_name="É", send_sdp=False)
    assert session in [each.id for each in await pbx.calls.list()]
    assert (await pbx.calls.show(session)).calls
    await pbx.calls.hang_up(session)
    await pbx.users.create(new_user(9))
    domain = at.sim.domain
    assert await pbx.calls.create_directly(
        "959", "Sip%Secret 2", domain=domain, caller="959", callee=callee
    )


async def test_scenario(proxy: Proxy, document: Document) -> None:
    """Each resource does its work, and Prism objects to nothing."""
    async with behind_prism(proxy, document) as at:
        for act in (accounts, users, many_users, extensions, groups, greetings, calls):
            await act(at)
        assert document.operations.keys() - at.tap.succeeded == UNUSED


async def test_second_factor(proxy: Proxy, document: Document) -> None:
    """The same for a login with a second factor."""
    async with behind_prism(proxy, document, second_factor=True) as at:
        with pytest.raises(TwoFactorRequired) as required:
            await at.pbx.auth.user()
        challenge = required.value.challenge
        await at.pbx.auth.send_otp(challenge)
        assert at.sim.v22.otp
        await at.pbx.auth.verify_otp(challenge, at.sim.v22.otp)
        assert (await at.pbx.auth.user()).role
