"""A service of your own on FastAPI, in front of the PBX.

    python examples/fastapi_service.py [--host 127.0.0.1] [--port 8000]

Its pages are at http://127.0.0.1:8000/docs. One client is opened when the service starts and closed
when it ends, so all requests share its connections, its token and its limits.
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
from stand_in import stand_in_pbx

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

# What an error of the PBX becomes here; any other is a bad gateway.
ANSWERS = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    RateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}
# What a number gets that the PBX does not know.
UNKNOWN = (BadRequest, NotFound, StatusMissing)


class Person(BaseModel):
    """An extension, as this service shows it."""

    model_config = ConfigDict(from_attributes=True)

    extension_number: str
    first_name: str | None = None
    last_name: str | None = None
    status: str | None = None


class Status(BaseModel):
    """What an extension is doing."""

    model_config = ConfigDict(from_attributes=True)

    extension_number: str
    status: str | None = None


class NewPerson(BaseModel):
    """An extension to be created."""

    extension_number: str = Field(pattern="^[0-9]+$")
    password: SecretStr = Field(min_length=1)
    web_access_password: SecretStr = Field(min_length=1)
    first_name: str | None = None
    last_name: str | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one client for as long as the service runs."""
    async with stand_in_pbx(), PortSIPClient.from_env() as pbx:
        app.state.pbx = pbx
        yield


def opened(request: Request) -> PortSIPClient:
    """Hand the client to a path."""
    pbx: PortSIPClient = request.app.state.pbx
    return pbx


PBX = Annotated[PortSIPClient, Depends(opened)]
app = FastAPI(title="Extensions", lifespan=lifespan)


@app.exception_handler(PortSIPError)
async def failed(_: Request, error: PortSIPError) -> JSONResponse:
    """Answer what the PBX refused, or could not be asked; the text of an error holds no secret."""
    retry_after = error.retry_after if isinstance(error, APIError) else None
    return JSONResponse(
        {"detail": str(error), "may_have_acted": error.may_have_acted},
        status_code=ANSWERS.get(type(error), HTTPStatus.BAD_GATEWAY),
        headers=None if retry_after is None else {"Retry-After": f"{retry_after:.0f}"},
    )


@app.exception_handler(TypeError)
@app.exception_handler(ValueError)
async def refused(_: Request, error: Exception) -> JSONResponse:
    """Answer what the SDK does not take, as an empty number or a text that is no UTF-8."""
    return JSONResponse({"detail": str(error)}, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@app.get("/extensions", response_model=list[Person])
async def find(
    pbx: PBX, search: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[ExtensionSummary]:
    """List extensions, or those whose number or name holds a text."""
    found = pbx.extensions.search(search) if search else pbx.extensions.list()
    return await found.collect(limit=limit)


@app.get("/status", response_model=list[Status])
async def status(pbx: PBX, number: Annotated[list[str], Query()]) -> list[ExtensionStatus]:
    """Tell what some extensions are doing; one that the PBX does not know is left out."""
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
    parser = argparse.ArgumentParser(description="A service in front of the PBX.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(app, host=options.host, port=options.port)
