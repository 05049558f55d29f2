"""A real nginx as a TLS reverse proxy. All of its files are in one folder."""

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

_WAIT = 10.0  # seconds until nginx listens
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_LIBC = ctypes.CDLL(None)

# proxy_next_upstream is off so that each attempt of the SDK arrives once: by default nginx repeats
# a GET on a broken connection, and a call to a phone is a GET. Without worker_shutdown_timeout, the
# old workers of a reload would run as long as a web socket is open.
_CONFIGURATION = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 2;
worker_shutdown_timeout 2s;
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
    upstream pbx {{ server {host}:{upstream}; keepalive 16; }}
    server {{
        listen {host}:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        location / {{
            proxy_pass http://pbx;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
        }}
        location = /wsi {{
            proxy_pass http://{host}:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""


class SetupError(Exception):
    """The soak can't start on this machine; the text says what is missing."""


def free_port() -> int:
    """Return a free port below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def find_nginx() -> str:
    """Return the path of nginx. Without one, root on Debian gets its package.

    The package is unpacked into the virtual environment, once. It is not installed, because an
    installed nginx would start to serve.

    Raises:
        SetupError: there is no nginx, and it can't be downloaded.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is not None:
        return found
    if not Path("/etc/debian_version").exists() or os.geteuid() != 0:
        raise SetupError("the soak needs nginx; on Debian: apt-get install nginx")
    folder = Path(sys.prefix) / "nginx-package"
    binary = folder / "usr/sbin/nginx"
    if not binary.exists():
        folder.mkdir(exist_ok=True)
        get = "apt-get update -qq && apt-get download -qq nginx && dpkg-deb -x nginx_*.deb ."
        try:
            subprocess.run(["sh", "-c", get], cwd=folder, check=True, timeout=300)
            subprocess.run([binary, "-v"], check=True, timeout=10, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(folder)
            raise SetupError(f"{error}; to install nginx: apt-get install nginx") from None
    return str(binary)


class Nginx:
    """nginx with TLS in front of a port of this machine.

    Attributes:
        url: where it serves.
        authority: the path of the certificate to trust.
    """

    def __init__(self, binary: str, folder: Path, upstream: int) -> None:
        """Write the certificate and the configuration, and start to serve."""
        folder.mkdir()
        port = free_port()
        self.url = f"https://{HOST}:{port}"
        self.authority = str(folder / "authority.pem")
        self._access_log = folder / "access.log"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert(HOST)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        # Only the owner may read the folder, so the workers must not change their user.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(user=user, folder=folder, host=HOST, port=port, upstream=upstream)
        )
        self._process = subprocess.Popen(
            [binary, "-p", folder, "-c", configuration, "-e", folder / "error.log"],
            preexec_fn=_end_with_parent,
            stdin=subprocess.DEVNULL,
        )
        until = time.monotonic() + _WAIT
        while time.monotonic() < until and self.alive:
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                return
            time.sleep(0.05)
        self.close()
        raise SetupError("nginx does not listen; its messages are above")

    @property
    def alive(self) -> bool:
        """Whether nginx runs."""
        return self._process.poll() is None

    def reload(self) -> None:
        """Make nginx read its configuration again: it starts new workers, the old ones finish."""
        self._process.send_signal(signal.SIGHUP)

    def cut_connections(self) -> None:
        """Cut every connection by killing the workers. nginx replaces them."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for worker in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGKILL)

    def arrivals(self) -> Counter[str]:
        """Count the requests that arrived, by method and path."""
        with self._access_log.open() as lines:
            return Counter(line.rstrip() for line in lines)

    def close(self) -> None:
        """Stop nginx."""
        if self.alive:
            self._process.terminate()
            self._process.wait(10)


def _end_with_parent() -> None:
    """Make the kernel end this child with its parent, even if the parent is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
