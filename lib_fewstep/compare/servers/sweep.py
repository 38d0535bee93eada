"""The images of a comparison from several servers, one at a time from each."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from distributed import as_completed
from tqdm import tqdm

from lib_fewstep.compare.servers.answer import failed, row_from
from lib_fewstep.compare.servers.dask_client import submit
from lib_fewstep.compare.servers.finished_rows import Row, Rows
from lib_fewstep.compare.servers.plan import Task
from lib_fewstep.compare.servers.remote import SILENT, Server

GONE = (SILENT, 401, 403, 502, 503, 504)
"""Statuses of a server that serves nobody: silent, refusing the credentials, or missing behind its gateway."""
MOST_LOSSES = 3
_RUNNING = ("running", "connecting")


class Sweep:
    """Asks servers for images until all are there or nobody is left to ask.

    An image that a server dies on, or a Dask worker, is asked for again behind the others. A dead server is not asked
    again.
    """

    def __init__(self, client: Any, servers: Sequence[Server], rows: Rows, timeout: float, progress: tqdm[Any]) -> None:
        """A sweep that keeps what comes in `rows`, and gives each image `timeout` seconds."""
        self.images_made: Counter[str] = Counter({server.address: 0 for server in servers})
        """How many images came from each server."""
        self._client = client
        self._idle = deque(servers)
        self._rows = rows
        self._timeout = timeout
        self._progress = progress
        self._waiting: deque[Task] = deque()
        self._under_way: dict[Any, tuple[Server, Task]] = {}
        self._losses: Counter[str] = Counter()

    def run(self, tasks: Sequence[Task]) -> str:
        """Make the images; returns why it stopped before each had its row, nothing if each has."""
        self._waiting.extend(tasks)
        finished = as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
        self._submit(finished)
        for future in finished:
            self._settle(future)
            self._submit(finished)
        if not self._waiting:
            return ""
        return "no server answers any longer" if not self._idle else "the Dask scheduler is gone"

    def _submit(self, finished: Any) -> None:
        """Give each idle server an image to make, while Dask is there."""
        while self._idle and self._waiting and self._client.status in _RUNNING:
            server, task = self._idle.popleft(), self._waiting.popleft()
            future = submit(self._client, server, "txt2img", task.payload, self._timeout)
            self._under_way[future.key] = server, task
            finished.add(future)
        self._progress.set_postfix(servers=len(self._under_way))

    def _settle(self, future: Any) -> None:
        server, task = self._under_way.pop(future.key)
        try:
            status, body = future.result()
        except Exception as error:  # noqa: BLE001 (LOST, or what Dask raises about one answer)
            self._idle.append(server)
            self._lose(task, type(error).__name__)
            return
        if status in GONE:
            self._waiting.append(task)
            self._progress.write(f"{server.address} is no longer used: {body}.", file=sys.stderr)
            return
        self._idle.append(server)
        if status >= 400:
            self._keep(task, failed(task, body, server.address))
            return
        row, png = row_from(task, body, server.address)
        self.images_made[server.address] += bool(png)
        self._keep(task, row, png)

    def _lose(self, task: Task, fault: str) -> None:
        """Dask has lost the call of an image: it may be the image's fault, so not for ever."""
        self._losses[task.key] += 1
        if self._losses[task.key] < MOST_LOSSES:
            self._waiting.append(task)
        else:
            self._keep(task, failed(task, f"Dask has lost this image {MOST_LOSSES} times ({fault}).", server=""))

    def _keep(self, task: Task, row: Row, png: bytes = b"") -> None:
        self._rows.add(row, png)
        self._progress.update(len(task.cells))
