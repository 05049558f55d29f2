"""The server of the benchmarks: prepared replies from a raw asyncio protocol.

It runs in a separate process and understands only what the clients send: a login, a page of
extensions, one extension, the status of a batch, one user of v22. Replies are built once and
cached. Options make it refuse expired tokens and large batches, or send shorter pages than
requested.

`harness.Server` starts it. It writes its ports to standard output. Then it writes one line for each
line on standard input, with its CPU seconds and counts.
"""

import argparse
import asyncio
import gzip
import selectors
import ssl
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec

TOKEN_LIFE = 86_400.0  # seconds; the default
CACHED = 4_096  # replies of each operation at most

# A placeholder of the width of a page number, which replaces it in the encoded page.
_PAGE_MARK = b"@@@@@@"
_HEAD = (
    "HTTP/1.1 {status}\r\nServer: canned\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "Content-Type: application/json;charset=utf-8\r\n{extra}Content-Length: {length}\r\n\r\n"
)


def http_reply(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    """Return an HTTP reply with a body."""
    return _HEAD.format(status=status, extra=extra, length=len(body)).encode() + body


def list_page(page: int, size: int, items: int) -> bytes:
    """Build a page of extensions. No number occurs on two pages."""
    rows = [
        {
            "extension_number": f"{_PAGE_MARK.decode()}{row:04}",
            "first_name": "Maria",
            "last_name": "Sandoval",
            "email": f"maria.sandoval.{row}@example.com",
            "status": "ON_CALL" if row % 7 == 0 else "OFFLINE",
            "user_agent": "PortSIP UC Client",
            "phone_mac_address": "0004132B7C55",
            "phone_model": "D785",
        }
        for row in range(min(size, max(0, items - (page - 1) * size)))
    ]
    body = msgspec.json.encode(
        {
            "pagination": page,
            "pagesize": size,
            "sort_by": "DEFAULT",
            "page_count": -(-items // size),
            "count": len(rows),
            "extensions": rows,
        }
    )
    return body.replace(_PAGE_MARK, b"%06d" % page)


def extension() -> bytes:
    """Build one extension with all its settings."""
    away = {
        "office_hours_action": "CONNECT_TO_VOICE",
        "office_hours_action_value": "",
        "outside_office_hours_action": "CONNECT_TO_VOICE_MAIL",
        "outside_office_hours_action_value": "",
    }
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return msgspec.json.encode(
        {
            "extension_number": "1000",
            "password": "x7cQp0aW",
            "web_access_password": "x7cQp0aW",
            "profile": {
                "first_name": "Maria",
                "last_name": "Sandoval",
                "gender": "FEMALE",
                "email": "maria.sandoval@example.com",
                "mobile_phone": "555 0100",
                "work_phone": "555 0101",
                "home_phone": "",
                "twitter": "",
                "facebook": "",
                "linkedin": "",
                "instagram": "",
                "description": "Second floor, room 12",
            },
            "options": {
                "enable_audio_record_calls": False,
                "enable_video_record_calls": False,
                "enable_extension": True,
            },
            "voice_mail": {
                "enable_voicemail": True,
                "prompt_language": "en-us",
                "enable_vm_pin_auth": True,
                "voicemail_pin": "482913",
                "enable_play_caller_id": False,
                "msg_read_out_datetime": "DO_NOT_READ",
            },
            "forward_rules": {
                "available": {
                    "no_answer_timeval": 20,
                    "no_answer_action": "CONNECT_TO_VOICE_MAIL",
                    "no_answer_action_value": "",
                    "busy_action": "CONNECT_TO_VOICE",
                    "busy_action_value": "",
                },
                "offline": away,
                "dnd": away,
                "away": away,
            },
            "office_hours": {
                "office_hours_mode": "CUSTOM",
                **{f"{day}_from": "09:00" for day in days},
                **{f"{day}_to": "17:00" for day in days},
            },
        }
    )


def user() -> bytes:
    """Build one user of v22 with the settings of `extension`, in as many bytes."""
    rule = {"action": "FORWARD_TO_VOICEMAIL", "number": ""}
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    ranges = [{"from": "09:00", "to": "17:00"}]
    fields = {
        "id": "NzAwMDAwNjc5NTM1NTU2OTkx",
        "name": "maria.sandoval",
        "email": "maria.sandoval@example.com",
        "display_name": "Maria Sandoval",
        "role": "StandardUser",
        "enabled": True,
        "mobile_phone": "555 0100",
        "work_phone": "555 0101",
        "home_phone": "",
        "address": "",
        "department": "Sales",
        "extension_number": "1000",
        "enable_audio_recording": False,
        "enable_video_recording": False,
        "office_hours": {
            **{day: {"enabled": True, "ranges": ranges} for day in days},
            "mode": "CUSTOM",
        },
        "available_office_hours_forward_rule": rule,
        "available_no_answer_forward_rule": {**rule, "timeout": 20},
        **{
            f"{presence}_{hours}_forward_rule": rule
            for presence in ("dnd", "away", "offline")
            for hours in ("office_hours", "non_office_hours")
        },
        "voicemail_prompt": "en-us",
        "enable_voicemail_pin": True,
        "voicemail_pin": "482913",
        "voicemail_play_datetime": "DO_NOT_READ",  # not in the enum, like "FEMALE" above
    }
    missing = len(extension()) - len(msgspec.json.encode(fields))
    return msgspec.json.encode({**fields, "address": "x" * missing})


def statuses(numbers: list[str]) -> bytes:
    """Build the status of a batch."""
    rows = [
        {
            "extension_number": number,
            "status": "ON_CALL" if index % 7 == 0 else "OFFLINE",
            "user_agent": "PortSIP UC Client",
        }
        for index, number in enumerate(numbers)
    ]
    return msgspec.json.encode({"extension_status": rows})


class Replies:
    """The replies of the server, cached after the first request."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.counts: Counter[str] = Counter()
        self._items: int = arguments.items
        self._life: float | None = arguments.token_life
        self._compressed: bool = arguments.compressed
        self._largest_batch: int | None = arguments.largest_batch
        self._largest_page: int | None = arguments.largest_page
        # When each token expires, on the monotonic clock.
        self._expiries: dict[bytes, float] = {}
        self._pages: dict[bytes, bytes] = {}
        self._statuses: dict[bytes, bytes] = {}
        self._show = http_reply(extension())
        self._user = http_reply(user())
        self._unauthorized = http_reply(b'{"err_code":"401","msg":"expired"}', "401 Unauthorized")
        self._not_found = http_reply(b'{"err_code":"404.2","msg":"unknown"}', "404 Not Found")
        refusal: int = arguments.refusal
        self._too_large = http_reply(
            b'{"err_code":"%d","msg":"too many extensions"}' % refusal,
            f"{refusal} {HTTPStatus(refusal).phrase}",
        )

    def reply_to(self, request: bytes, body_at: int) -> bytes:
        """Return the reply to a whole request.

        Args:
            request: its bytes.
            body_at: the index of its body.
        """
        self.counts["requests"] += 1
        line = request[: request.index(b" HTTP/1.1\r\n")]
        if b"/account/" in line or b"/auth/" in line:
            self.counts["logins"] += 1
            return self._token()
        if self._life is not None and not self._is_valid(request):
            self.counts["refused"] += 1
            return self._unauthorized
        if b"/extensions/list" in line:
            return self._list(line)
        if b"/extensions/show" in line:
            return self._show
        if b"/extensions/status" in line:
            return self._status(request, body_at)
        if b"/users/" in line:
            return self._user
        return self._not_found

    def _token(self) -> bytes:
        life = TOKEN_LIFE if self._life is None else self._life
        token = f"{self.counts['logins']:032d}"
        self._expiries[token.encode()] = time.monotonic() + life
        return http_reply(
            msgspec.json.encode(
                {
                    "access_token": token,
                    "expires": life,
                    "expires_in": life,
                    "role": "tenant",
                    "api_version": "2.0.0",
                }
            )
        )

    def _is_valid(self, request: bytes) -> bool:
        at = request.index(b"access_token") + len(b"access_token")
        at += 1 if request[at : at + 1] == b"=" else len(b'":"')
        return self._expiries.get(request[at : at + 32], 0.0) > time.monotonic()

    def _list(self, line: bytes) -> bytes:
        query = line[line.index(b"?") + 1 :]
        key = b"&".join(sorted(p for p in query.split(b"&") if p.startswith(b"pag")))
        reply = self._pages.get(key)
        if reply is None:
            values = dict(part.split(b"=") for part in key.split(b"&"))
            size = int(values[b"pagesize"])
            if self._largest_page is not None:
                size = min(size, self._largest_page)
            body = list_page(int(values[b"pagination"]), size, self._items)
            if self._compressed:
                reply = http_reply(gzip.compress(body, 6), extra="Content-Encoding: gzip\r\n")
            else:
                reply = http_reply(body)
            if len(self._pages) >= CACHED:
                self._pages.clear()
            self._pages[key] = reply
        return reply

    def _status(self, request: bytes, body_at: int) -> bytes:
        batch = request[request.index(b"[", body_at) : request.rindex(b"]") + 1]
        reply = self._statuses.get(batch)
        if reply is None:
            numbers = msgspec.json.decode(batch)
            if self._largest_batch is not None and len(numbers) > self._largest_batch:
                return self._too_large
            reply = http_reply(statuses(numbers))
            if len(self._statuses) >= CACHED:
                self._statuses.clear()
            self._statuses[batch] = reply
        return reply


class Connection(asyncio.Protocol):
    """A connection that replies to each complete request, also to pipelined ones."""

    def __init__(self, replies: Replies, delay: float) -> None:
        self._reply_to = replies.reply_to
        self._delay = delay
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.max_size = 65_536  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        start = 0
        at_once: list[bytes] = []
        while start < len(data):
            head_end = data.find(b"\r\n\r\n", start)
            if head_end < 0:
                break
            body_at = head_end + 4
            end = body_at
            if data.startswith(b"P", start):
                end += _length(data[start:body_at])
                if end > len(data):
                    break
            whole = start == 0 and end == len(data)
            request = data if whole else data[start:end]
            reply = self._reply_to(request, body_at - start)
            if self._delay:
                loop = asyncio.get_running_loop()
                loop.call_later(self._delay, self._transport.write, reply)
            else:
                at_once.append(reply)
            start = end
        if at_once:
            self._transport.write(at_once[0] if len(at_once) == 1 else b"".join(at_once))
        self._rest = data[start:] if start < len(data) else b""


def _length(head: bytes) -> int:
    at = head.find(b"Content-Length: ")
    if at < 0:
        at = head.lower().find(b"content-length: ")
    return int(head[at + 16 : head.index(b"\r\n", at)]) if at >= 0 else 0


def _write_line(values: dict[str, Any]) -> None:
    print(msgspec.json.encode(values).decode(), flush=True)


def _watch_input(replies: Replies) -> None:
    """Write CPU seconds and counts for each line of standard input."""
    for _ in sys.stdin:
        _write_line({"cpu": time.process_time(), **replies.counts})


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process is terminated."""
    replies = Replies(arguments)
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(replies, arguments.delay)

    plain = await loop.create_server(connection, "127.0.0.1", 0, backlog=512)
    ports = {"plain": plain.sockets[0].getsockname()[1]}
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate)
        secured = await loop.create_server(connection, "127.0.0.1", 0, ssl=context, backlog=512)
        ports["tls"] = secured.sockets[0].getsockname()[1]
    _write_line(ports)
    threading.Thread(target=_watch_input, args=(replies,), daemon=True).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--items", type=int, default=100_000, help="extensions in the list")
    parser.add_argument("--token-life", type=float, help="seconds; refuse expired tokens")
    parser.add_argument("--largest-batch", type=int, help="numbers; refuse larger batches")
    parser.add_argument("--refusal", type=int, default=400, help="status for a batch too large")
    parser.add_argument("--largest-page", type=int, help="extensions; never send more on a page")
    parser.add_argument("--compressed", action="store_true", help="list pages in gzip")
    parser.add_argument("--certificate", help="a PEM file with key and chain; serve TLS too")
    arguments = parser.parse_args()
    # epoll waits in whole milliseconds, which would make a delay half a millisecond longer.
    selector = selectors.SelectSelector() if arguments.delay else selectors.DefaultSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(serve(arguments))


if __name__ == "__main__":
    main()
