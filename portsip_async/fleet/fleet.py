"""`Fleet`: follows the statuses of many PBXes, in several processes that share a Redis."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from ..arguments import check_int, check_number, check_str, check_strs, check_type, plain_text
from ..classic.client import PortSIPClient
from ..core.tasks import NotCopyable
from ..core.urls import is_loopback
from ..errors import ConfigurationError, ConnectError
from ..v22.client import PortSIPClient as V22Client
from .consumer import ANSWER, Consumer
from .cycle import Cycles, remove
from .engine import Engine
from .events import FleetEvent, FleetStatus, Status
from .metrics import FleetMetrics
from .store import FleetStore
