"""Small servers for pages that need more than the simulator: other operations, another version."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

QUEUE = {"queue_number": "800", "queue_name": "Sales", "agents": ["101"]}


@contextlib.asynccontextmanager
async def _serve(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on this machine, and return its address."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def pbx_with_queues() -> AsyncIterator[str]:
    """Serve logins of both generations, and call queues, which the SDK doesn't have."""

    async def log_in(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "T", "expires": 600, "expires_in": 600})

    async def queues(_: web.Request) -> web.Response:
        return web.json_response({**QUEUE, "page_count": 2, "queues": [QUEUE]})

    async def queue(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer T" or request.match_info["id"] != "q/1":
            raise web.HTTPUnauthorized
        return web.json_response({**QUEUE, "id": "q/1"})

    app = web.Application()
    app.router.add_post("/api/account/credentials/verify", log_in)
    app.router.add_post("/api/auth/sign_in", log_in)
    app.router.add_route("*", "/api/call_queue/{_}", queues)
    app.router.add_route("*", "/api/call_queues/{id}", queue)
    async with _serve(app) as url:
        yield url


@contextlib.asynccontextmanager
async def v12() -> AsyncIterator[str]:
    """Serve a few operations of version 12, as far as they differ from the classic ones."""
    extensions = {
        str(1000 + number): {
            "id": 1000 + number,
            "extension_number": str(number),
            "status": "ONLINE",
            "profile": {"first_name": "Ann"},
        }
        for number in range(100, 103)
    }
    groups = {"7": {"id": 7, "group_name": "Sales", "members": ["101"]}}

    def check(request: web.Request) -> None:
        if request.headers.get("access_token") != "T" or "access_token" in request.query:
            raise web.HTTPUnauthorized

    async def log_in(request: web.Request) -> web.Response:
        if (await request.json()) != {"name": "admin", "password": "simulated-Secret-1"}:
            raise web.HTTPBadRequest
        return web.json_response({"access_token": "T", "expires": 600})

    def page(name: str, rows: list[dict[str, object]]) -> web.Response:
        reply = {"pagination": 1, "pagesize": 100, "count": len(rows), name: rows}
        return web.json_response(reply)

    async def list_extensions(request: web.Request) -> web.Response:
        check(request)
        is_first = request.query["pagination"] == "1"
        return page("extensions", [*extensions.values()] if is_first else [])

    async def show_extension(request: web.Request) -> web.Response:
        check(request)
        if set(request.query) != {"id"}:
            raise web.HTTPBadRequest
        if request.query["id"] not in extensions:
            raise web.HTTPNotFound
        return web.json_response(extensions[request.query["id"]])

    async def remove_extension(request: web.Request) -> web.Response:
        check(request)
        body = await request.json()
        if set(body) != {"id"} or extensions.pop(body["id"], None) is None:
            raise web.HTTPBadRequest
        return web.Response()

    async def list_groups(request: web.Request) -> web.Response:
        check(request)
        is_first = request.query["pagination"] == "1"
        return page("groups", [*groups.values()] if is_first else [])

    async def show_group(request: web.Request) -> web.Response:
        check(request)
        if set(request.query) != {"id"}:
            raise web.HTTPBadRequest
        return web.json_response(groups[request.query["id"]])

    app = web.Application()
    app.router.add_post("/api/account/credentials/verify", log_in)
    app.router.add_get("/api/extensions/list", list_extensions)
    app.router.add_get("/api/extensions/show", show_extension)
    app.router.add_post("/api/extensions/destroy", remove_extension)
    app.router.add_get("/api/extensions/group/list", list_groups)
    app.router.add_get("/api/extensions/group/show", show_group)
    async with _serve(app) as url:
        yield url
