"""The host that the contract is tested on: the stand-in, or the real WebUI whose checkout WEBUI_DIR names."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contract import boot

CHECKOUT = os.environ.get("WEBUI_DIR")
DATA = boot.boot(Path(CHECKOUT)) if CHECKOUT else None  # before anything else imports what the host brings


@cache
def real() -> Any:
    """The real host, which starts once."""
    from tests.contract.real import RealHost

    return RealHost(DATA)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """A host with SD1 loaded and the contract's extension, for the tests of one file."""
    if CHECKOUT:
        yield real()
        return
    from tests.webui import standin

    with standin.webui("sd1", boot.EXTENSION / "scripts") as host:
        yield host


@pytest.fixture
def host(running: Any) -> Iterator[Any]:
    """That host; settings, samplers, axes and callbacks are afterwards as they were."""
    with left_as_it_was(running):
        yield running


@contextmanager
def left_as_it_was(host: Any) -> Iterator[None]:
    """Put back whatever a test may change of a host."""
    data = dict(host.shared.opts.data)
    callbacks = {kind: list(entries) for kind, entries in host.callbacks.kinds.items()}
    samplers = sys.modules["modules.sd_samplers"]
    lists = list(samplers.all_samplers), dict(samplers.all_samplers_map)
    networks = copy.copy(sys.modules["modules.extra_networks"].extra_network_registry)
    loaded = _modules()
    forget(host)
    try:
        yield
    finally:
        host.shared.opts.data.clear()
        host.shared.opts.data.update(data)
        for kind, entries in host.callbacks.kinds.items() if _modules() == loaded else ():  # else the UI was reloaded
            entries[:] = callbacks[kind]
        vars(sys.modules["modules.script_callbacks"]).get("ordered_callbacks_map", {}).clear()
        samplers.all_samplers[:] = lists[0]
        samplers.all_samplers_map.clear()
        samplers.all_samplers_map.update(lists[1])
        samplers.set_samplers()
        samplers.get_sampler_and_scheduler.cache_clear()
        registry = sys.modules["modules.extra_networks"].extra_network_registry
        registry.clear()
        registry.update(networks)
        sys.modules["modules.sd_unet"].current_unet = None
        host.load_model("sd1")


def _modules() -> list[int]:
    """The loaded script files."""
    return [id(data.module) for data in sys.modules["modules.scripts"].scripts_data]


def forget(host: Any) -> None:
    """Empty what the test before has left in records."""
    host.errors.clear()
    host.probe.faults.clear()
    host.cat.resized = 0
    for tab in host.tabs.values():
        tab.changed.clear()
    for data in sys.modules["modules.scripts"].scripts_data:
        for name in ("log", "seen", "calls"):
            if "recorder" in data.basedir or "extension" in data.basedir:
                getattr(data.module, name, []).clear()
        for owner in (data.script_class, data.module):
            getattr(owner, "actions", {}).clear()
