"""Addresses of servers, with and without their credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from lib_fewstep.compare.servers.remote import Server
from lib_fewstep.options import SettingError, shown

_CREDENTIALS = re.compile(r"(\w+://)?\S*@")


def without_credentials(text: str) -> str:
    """A text without what stands before the @ of an address."""
    return _CREDENTIALS.sub(r"\1", text)


def server_from(url: str) -> Server:
    """The server at an address such as http://user:password@host:7860. Raises SettingError for anything else."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.path
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise SettingError(
            f"--server = {shown(without_credentials(url))} is not allowed: it must be like http://host:7860 or "
            "http://user:password@host:7860 (write /, ?, # and @ in a password as %2F, %3F, %23 and %40)."
        )
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    if parts.username is None:
        return Server(address)
    return Server(address, (unquote(parts.username), unquote(parts.password or "")))


def servers_from(urls: Iterable[str]) -> list[Server]:
    """The servers at the addresses. Raises SettingError for what is none, and for one that is there twice."""
    servers: list[Server] = []
    for server in map(server_from, urls):
        if server.address in {other.address for other in servers}:
            raise SettingError(f"--server = {server.address!r} is not allowed: it is given twice.")
        servers.append(server)
    return servers
