"""Dask's side of a comparison: where the calls of the servers run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from distributed import Client, KilledWorker, LocalCluster

from lib_fewstep.compare.servers import remote
from lib_fewstep.compare.servers.remote import call
from lib_fewstep.options import SettingError

LOST = (KilledWorker, CancelledError, ModuleNotFoundError)
"""What a future raises whose worker or scheduler has died, or whose worker lacks `requests`."""
_START_SECONDS = 30
_HERE = "127.0.0.1:0"
"""Where Dask serves pages about itself: without an address it does on 8787 for everybody."""

cloudpickle.register_pickle_by_value(remote)  # workers need not have this package


@contextmanager
def connected(scheduler: str | None, threads: int) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster in this process with so many threads.

    Raises SettingError if no scheduler with a worker is at the address.
    """
    with _local(threads) if scheduler is None else _distant(scheduler) as client:
        yield client


@contextmanager
def _local(threads: int) -> Iterator[Any]:
    cluster = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1,
        threads_per_worker=threads,
        processes=False,
        dashboard_address=_HERE,
        worker_dashboard_address=_HERE,
        scheduler_kwargs={"dashboard": False},
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )
    try:
        with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            yield client
    finally:
        # closed one by one, because the cluster would wait for the calls under way
        for worker in cluster.workers.values():
            cluster.sync(worker.close, executor_wait=False)  # type: ignore[no-untyped-call]
        cluster.close()


@contextmanager
def _distant(scheduler: str) -> Iterator[Any]:
    address = scheduler or "nowhere"  # Dask would take an empty one for the wish to start a cluster
    try:
        client = Client(address, timeout=_START_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, asyncio.TimeoutError) as error:
        raise SettingError(
            f"--scheduler = {scheduler!r} is not allowed: it must be the address of a Dask scheduler that answers, "
            "such as tcp://host:8786."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_START_SECONDS)
        except asyncio.TimeoutError as error:
            raise SettingError(f"--scheduler = {scheduler!r} cannot be used: it has no workers.") from error
        yield client


def submit(client: Any, *arguments: Any) -> Any:
    """The future of `remote.call` with these arguments."""
    return client.submit(_by_value(), *arguments, pure=False)


def _by_value() -> Callable[..., tuple[int, Any]]:
    """`remote.call` in a local function: Dask pickles what has a name by that name, which a worker may not know."""

    def here(*arguments: Any) -> tuple[int, Any]:
        return call(*arguments)

    return here


def gather(client: Any, calls: Mapping[Any, tuple[Any, ...]]) -> dict[Any, tuple[int, Any]]:
    """The answers to calls that are made before the first image. Raises SettingError if Dask cannot make them."""
    try:
        answers: dict[Any, tuple[int, Any]] = client.gather(
            {name: submit(client, *arguments) for name, arguments in calls.items()}
        )
    except ModuleNotFoundError as error:
        raise SettingError(
            f"{error.name} is missing on the Dask workers: run pip install -r requirements-cluster.txt there."
        ) from error
    except LOST as error:
        raise SettingError("The Dask workers crash when they contact the servers: see their logs.") from error
    return answers
