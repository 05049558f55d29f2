"""A real nginx as TLS reverse proxy, with a folder of its own: nothing of the system's is touched.

The kernel ends it with its parent, so that it is left behind on no way out.
"""

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import trustme

HOST = "127.0.0.1"

_PORTS = (20_000, 30_000)  # below those that the kernel gives to connections that go out
_WAIT = 10.0  # seconds for nginx to listen
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_LIBC = ctypes.CDLL(None)

# One attempt of the SDK is to be one arrival at the PBX, so nginx repeats nothing: left to itself
# it sends a GET again on a connection that broke, and a call is a GET.
_CONFIGURATION = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 2;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format arrivals '$request_method $uri';
    access_log {folder}/access.log arrivals;
    client_max_body_size 16m;
    split_clients $request_id $unlucky {{ 30% 1; * 0; }}
    upstream pbx {{
        server {host}:{upstream};
        keepalive 16;
    }}
    server {{
        listen {host}:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        if (!-f {folder}/overloaded) {{ set $unlucky 0; }}
        if ($unlucky) {{ return 503; }}
        location / {{
            proxy_pass http://pbx;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }}
    }}
}}
"""


class Unready(Exception):
    """The soak can't begin here; the text says what is missing."""


def free_port() -> int:
    """Find a port of this machine that nobody listens on."""
    for _ in range(200):
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise Unready("there is no free port between {} and {}".format(*_PORTS))


def end_with_parent() -> None:
    """Let a child that is being started end when its parent does, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def find_nginx(folder: Path) -> str:
    """Answer nginx's path; on Debian, as root, fetch its package where there is none.

    It is unpacked, not installed, since an installed nginx would begin to serve: into the virtual
    environment, for the next time too, or else into a folder of the run.

    Raises:
        Unready: there is none, and none can be had here.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is not None:
        return found
    if not Path("/etc/debian_version").exists() or os.geteuid() != 0:
        raise Unready("the soak needs nginx: install it (Debian: apt-get install nginx)")
    in_environment = sys.prefix != sys.base_prefix
    return unpack_nginx((Path(sys.prefix) if in_environment else folder) / "nginx-package")


def unpack_nginx(folder: Path) -> str:
    """Fetch Debian's package of nginx with apt-get, once, and unpack it into a folder."""
    binary = folder / "usr/sbin/nginx"
    if not binary.exists():
        folder.mkdir(exist_ok=True)
        try:
            for command in (
                ["apt-get", "update", "-qq"],
                ["apt-get", "download", "-qq", "nginx"],
            ):
                subprocess.run(command, cwd=folder, check=True, timeout=180)
            for package in folder.glob("nginx_*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)
            subprocess.run([binary, "-v"], check=True, timeout=10, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(folder)
            raise Unready(f"nginx could not be had: {error}; apt-get install nginx") from None
    return str(binary)


class Proxy:
    """nginx before a port of this machine.

    Attributes:
        url: where it serves.
        authority: the path of the certificate to trust.
    """

    def __init__(self, binary: str, folder: Path, upstream: int) -> None:
        """Write the certificate and the configuration, and begin to serve."""
        folder.mkdir()
        port = free_port()
        self.url = f"https://{HOST}:{port}"
        self.authority = str(folder / "authority.pem")
        self._overloaded = folder / "overloaded"
        self._access_log = folder / "access.log"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert(HOST)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                # The folder is its owner's alone, so nginx's workers stay who they are.
                user="user root;" if os.geteuid() == 0 else "",
                folder=folder,
                host=HOST,
                port=port,
                upstream=upstream,
            )
        )
        self._process = subprocess.Popen(
            [binary, "-p", folder, "-c", configuration, "-e", folder / "error.log"],
            preexec_fn=end_with_parent,
            stdin=subprocess.DEVNULL,
        )
        self._await(port)

    def _await(self, port: int) -> None:
        until = time.monotonic() + _WAIT
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise Unready("nginx does not listen; what it says of it stands above")

    @property
    def alive(self) -> bool:
        """Whether nginx runs."""
        return self._process.poll() is None

    def reload(self) -> None:
        """Let nginx read its configuration again: new workers, the old ones finish."""
        self._process.send_signal(signal.SIGHUP)

    def cut(self) -> int:
        """Cut every connection by killing nginx's workers, which it replaces; answers how many."""
        workers = _children(self._process.pid)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return len(workers)

    def overload(self, on: bool) -> None:
        """Answer 30 % of the requests with 503 from now on, or no more."""
        if on:
            self._overloaded.touch()
        else:
            self._overloaded.unlink(missing_ok=True)

    def arrivals(self) -> Counter[str]:
        """Count the requests that came, by method and path."""
        with self._access_log.open() as lines:
            return Counter(line.rstrip() for line in lines)

    def stop(self) -> None:
        """End nginx."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.cut()
                self._process.kill()
                self._process.wait()


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # Behind the name, which may hold anything: the state, then the parent.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found
