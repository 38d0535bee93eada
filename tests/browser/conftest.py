"""The page in a real browser: the stand-in's, or that of a running WebUI where WEBUI_URL names one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.page import WebUI
from tests.browser.place import Place, Running, StandIn

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)
WINDOW = {"width": 1280, "height": 1000}


def executable() -> str:
    """Where Chromium is."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(
            "The browser tests need Chromium: apt-get install chromium (or name one in CHROMIUM).", pytrace=False
        )
    return found


@pytest.fixture(scope="package")
def place() -> Iterator[Place]:
    """Where the page comes from."""
    url = os.environ.get("WEBUI_URL")
    if url:
        with Running(url) as running:
            yield running
    else:
        with StandIn() as standin:
            yield standin


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, which sees nothing but the page's own server."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser, place: Place) -> Iterator[WebUI]:
    """A page that is not loaded yet. At the end its browser has nothing to complain of, and the WebUI is as before."""
    context = browser.new_context(viewport=WINDOW)
    context.route(lambda url: not url.startswith(place.url), lambda route: route.fulfill(body=""))
    ui = WebUI(context.new_page(), place.url, place.troubles)
    yield ui
    context.close()
    place.tidy()
    assert ui.troubles == []


@pytest.fixture
def ui(window: WebUI) -> WebUI:
    """The page as it is loaded."""
    return window.open()
