"""What runs on a Dask worker: one call of a WebUI's API. It goes there by value, and needs `requests` there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SILENT = 0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A WebUI; its credentials are in no representation of it, because Dask logs the arguments of what fails."""

    address: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)


def call(server: Server, path: str, payload: dict[str, Any] | None, timeout: float) -> tuple[int, Any]:
    """Status and JSON of a POST, or of a GET where there is no payload; one line instead of the JSON from 400 on.

    The status is SILENT, with a word for why, where no whole answer comes in time or it is no JSON (or nested too deep
    to be read): no WebUI is there.
    """
    import requests  # noqa: PLC0415 (the scheduler unpickles this function, and may lack it)

    method, url = ("GET" if payload is None else "POST"), f"{server.address}/sdapi/v1/{path}"
    limits = (min(timeout, _CONNECT_SECONDS), timeout)
    try:
        answer = requests.request(method, url, json=payload, auth=server.credentials, timeout=limits)
        return answer.status_code, (_complaint(answer) if answer.status_code >= 400 else answer.json())
    except (OSError, ValueError, RecursionError) as error:
        return SILENT, type(error).__name__


def _complaint(answer: Any) -> str:
    """What the WebUI says about a request that it refuses or fails at, in one line."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    reason = (body.get("detail") or body.get("errors") or body.get("error")) if isinstance(body, dict) else None
    return " ".join(f"HTTP {answer.status_code}: {reason or answer.reason}".split())[:500]
