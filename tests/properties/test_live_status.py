"""Whatever happens to the web socket, in the end the consumer sees what is true at the PBX."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portsip_async.v22 import ExtensionState

from ..v22.live import STATUS, Live, live, true_states
from ..v22.test_live_status import RUBBISH, new_user
from ..virtual_time import MINUTE, in_virtual_time

VERIFY: Final = 2 * MINUTE
# Longer than the longest pause before a connection is made again, and two checks.
CALM: Final = 15 * MINUTE

INDEXES = st.integers(0, 5)
STATUSES = st.sampled_from(["OFFLINE", "ONLINE", "RINGING", "ON_CALL"])
PRESENCES = st.sampled_from([None, "AWAY", "LUNCH", "DO_NOT_DISTURB"])
SPARE = ["951", "952", "953"]
SECONDS = st.sampled_from([0.0, 0.001, 0.5, 3.0, 20.0, 70.0, 200.0])

STEPS = st.one_of(
    st.tuples(st.just("set"), INDEXES, STATUSES, PRESENCES, st.sampled_from(["", "back at 2"])),
    st.tuples(st.just("create"), st.sampled_from(SPARE)),
    st.tuples(st.just("remove"), INDEXES),
    st.tuples(st.just("renumber"), INDEXES, st.sampled_from(SPARE)),
    st.tuples(st.just("wait"), SECONDS),
    st.tuples(st.just("cut")),
    st.tuples(st.just("silence"), st.booleans()),
    st.tuples(st.just("refuse"), st.sampled_from([404, 429, 500, 503]), st.integers(1, 8)),
    st.tuples(st.just("delay"), st.sampled_from([0.5, 5.0, 100.0])),
    st.tuples(st.just("restart"), SECONDS),
    st.tuples(st.just("rubbish"), st.sampled_from(RUBBISH)),
    st.tuples(st.just("shuffle")),
    st.tuples(st.just("acknowledge"), st.booleans()),
    st.tuples(st.just("refuse REST"), st.integers(1, 20)),
    st.tuples(st.just("revoke")),
)
