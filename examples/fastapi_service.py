"""A FastAPI service in front of the PBX.

    python examples/fastapi_service.py [--host 127.0.0.1] [--port 8000]

Its documentation is at http://127.0.0.1:8000/docs. The service opens one client when it starts and
closes it when it stops. All requests share its connections, its token and its limits.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from simulated import simulated_pbx

from portsip_async import (
    APIError,
    BadRequest,
    Conflict,
    ExtensionStatus,
    ExtensionSummary,
    NewExtension,
    NotFound,
    PortSIPClient,
    PortSIPError,
    Profile,
    RateLimited,
    RequestTimeout,
    StatusMissing,
)

# The HTTP status for an error of the PBX. All other errors become 502 Bad Gateway.
STATUSES = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    RateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}
# The errors for a number that the PBX doesn't know.
UNKNOWN = (BadRequest, NotFound, StatusMissing)


class Person(BaseModel):
    """An extension in a reply of this service."""

    model_config = ConfigDict(from_attributes=True)

    extension_number: str
    first_name: str | None = None
    last_name: str | None = None
    status: str | None = None


class Status(BaseModel):
    """The status of an extension."""

    model_config = ConfigDict(from_attributes=True)

    extension_number: str
    status: str | None = None


class NewPerson(BaseModel):
    """An extension to create."""

    extension_number: str = Field(pattern="^[0-9]+$")
    password: SecretStr = Field(min_length=1)
    web_access_password: SecretStr = Field(min_length=1)
    first_name: str | None = None
    last_name: str | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client open while the service runs."""
    async with simulated_pbx(), PortSIPClient.from_env() as pbx:
        app.state.pbx = pbx
        yield


def get_client(request: Request) -> PortSIPClient:
    """Return the client of this service."""
    pbx: PortSIPClient = request.app.state.pbx
    return pbx


PBX = Annotated[PortSIPClient, Depends(get_client)]
app = FastAPI(title="Extensions", lifespan=lifespan)


@app.exception_handler(PortSIPError)
async def pbx_error(_: Request, error: PortSIPError) -> JSONResponse:
    """Reply to a call that failed. The text of an error contains no secrets."""
    retry_after = error.retry_after if isinstance(error, APIError) else None
    return JSONResponse(
        {"detail": str(error), "may_have_acted": error.may_have_acted},
        status_code=STATUSES.get(type(error), HTTPStatus.BAD_GATEWAY),
        headers=None if retry_after is None else {"Retry-After": f"{retry_after:.0f}"},
    )


@app.exception_handler(TypeError)
@app.exception_handler(ValueError)
async def invalid_argument(_: Request, error: Exception) -> JSONResponse:
    """Reply to an argument that the SDK refuses, such as an empty number or invalid Unicode."""
    return JSONResponse({"detail": str(error)}, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@app.get("/extensions", response_model=list[Person])
async def find(
    pbx: PBX, search: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[ExtensionSummary]:
    """List all extensions, or those with the search text in their number or name."""
    found = pbx.extensions.search(search) if search else pbx.extensions.list()
    return await found.collect(limit=limit)


@app.get("/status", response_model=list[Status])
async def status(pbx: PBX, number: Annotated[list[str], Query()]) -> list[ExtensionStatus]:
    """Return the status of some extensions. Unknown numbers are left out."""
    found: list[ExtensionStatus] = []
    async with pbx.extensions.poll_status(number, ordered=True) as results:
        async for result in results:
            if result.status is not None:
                found.append(result.status)
            elif result.error is not None and not isinstance(result.error, UNKNOWN):
                raise result.error
    return found


@app.post("/extensions", status_code=HTTPStatus.CREATED)
async def create(pbx: PBX, person: NewPerson) -> None:
    """Create an extension."""
    await pbx.extensions.create(
        NewExtension(
            extension_number=person.extension_number,
            password=person.password.get_secret_value(),
            web_access_password=person.web_access_password.get_secret_value(),
            profile=Profile(first_name=person.first_name, last_name=person.last_name),
        )
    )


@app.delete("/extensions/{number}", status_code=HTTPStatus.NO_CONTENT)
async def remove(pbx: PBX, number: str) -> None:
    """Remove an extension."""
    await pbx.extensions.remove(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A FastAPI service in front of the PBX.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(app, host=options.host, port=options.port)
