"""A web service as it runs with ``uvicorn --workers 4``: each worker has a client of its own.

The clients share a token if ``TOKEN_STORE`` is set to the URL of a Redis.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from portsip_async import PortSIPClient, PortSIPError
from portsip_async.redis import RedisTokenStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ.get("TOKEN_STORE")
    store = None if url is None else RedisTokenStore.from_url(url)
    async with PortSIPClient.from_env(token_store=store) as pbx:
        app.state.pbx = pbx
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(PortSIPError)
async def pbx_error(_: Request, error: PortSIPError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 502)


@app.get("/{number}")
async def show(number: str, request: Request, response: Response) -> str | None:
    """Return the name of an extension, and the process that asked the PBX."""
    response.headers["X-Process"] = str(os.getpid())
    pbx: PortSIPClient = request.app.state.pbx
    return (await pbx.extensions.show(number)).extension_number
