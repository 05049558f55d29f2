"""Private parts of a client that tests look at, where nothing public shows the same."""

import asyncio
from collections.abc import Mapping

import aiohttp

from portsip_async.client.base import BaseClient
from portsip_async.core.limits import Interruptible
from portsip_async.core.session import Session


def session_of(client: BaseClient) -> Session:
    """Return what all views of a client share."""
    return client._session


def semaphore_of(client: BaseClient) -> asyncio.Semaphore:
    """Return the semaphore that limits calls in flight to `max_connections`."""
    return client._session._context.semaphore


def calls_of(client: BaseClient) -> Mapping[Interruptible, None]:
    """Return the calls that have begun and not ended, those that wait for a slot included."""
    return client._session._context.calls


def http_session_of(client: BaseClient) -> aiohttp.ClientSession | None:
    """Return the client's own aiohttp session; None before the first call."""
    return client._session._transport._http
