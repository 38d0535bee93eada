"""Hosts for the tests, and the extension's log."""

from __future__ import annotations

import logging
from unittest.mock import patch

import pytest

from tests.webui import standin
from tests.webui.exact import CHECKPOINTS, SCRIPTS, listening, registered


@pytest.fixture
def log(caplog):
    """The lines of the extension's log."""
    logger = logging.getLogger("fewstep")
    logger.addHandler(caplog.handler)
    yield lambda: [record.message for record in caplog.records if record.name == "fewstep"]
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope="module")
def running():
    """A host with `UnitData`, and its other checkpoints beside it."""
    with patch.dict(standin.RECIPES, CHECKPOINTS), standin.webui("unit", SCRIPTS) as made:
        yield made


@pytest.fixture
def unit(running):
    """That host, with a fresh page; a test leaves settings and callbacks as they were, and no errors behind."""
    settings, callbacks = dict(running.shared.opts.data), registered(running)
    yield running
    running.load_model("unit")
    for tab in running.tabs.values():
        tab.changed.clear()
    errors = list(running.errors)
    running.errors.clear()
    assert not errors
    assert running.shared.opts.data == settings
    assert registered(running) == callbacks


@pytest.fixture(scope="module")
def sd1():
    """A host with a small SD1 model."""
    with standin.webui("sd1", SCRIPTS) as made:
        yield made


@pytest.fixture
def listen(unit):
    """A function that lists what the host's callbacks of a kind get, for one test."""
    with listening(unit) as add:
        yield add
