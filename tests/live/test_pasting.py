"""The infotext of a random job, pasted into the WebUI's own page as it is loaded, gives the same image again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.conftest import FLAGS, WINDOW, executable
from tests.browser.page import WebUI
from tests.browser.place import Running
from tests.live.client import URL, encoded, infotexts, pictures, post, settle_noise
from tests.webui.test_pasting import PICTURE, jobs, off_by

JOBS = int(os.environ.get("JOBS", "20"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture of every img2img job, as a file to upload."""
    path = tmp_path_factory.mktemp("pasting") / "picture.png"
    PICTURE.save(path)
    return path


def pasted(browser: Browser, tab: str, text: str, picture: Path) -> Any:
    """The pixels that a page makes after it has been loaded and the infotext has been pasted."""
    context = browser.new_context(viewport=WINDOW)
    context.route(lambda url: not url.startswith(f"{URL}/"), lambda route: route.fulfill(body=""))
    try:
        ui = WebUI(context.new_page(), f"{URL}/", Running.troubles).open()
        ui.tab(tab)
        if tab == "img2img":
            ui.upload("img2img_image", picture)
        ui.paste(tab, text)
        settle_noise()
        ui.generate(tab)
        shown = ui.part(f"{tab}_gallery").locator("img").first
        expect(shown).to_be_visible()
        file = httpx.get(str(shown.evaluate("image => image.src")), timeout=60)
        assert ui.troubles == []
        return np.asarray(Image.open(io.BytesIO(file.content)).convert("RGB"))
    finally:
        context.close()


@settings(
    max_examples=JOBS,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(job=jobs())
def test_the_same_image(browser, picture, job):
    """Not of an img2img batch: the WebUI encodes its picture once for each image, each time with other noise."""
    tab, request = job
    assume(tab == "txt2img" or "batch_size" not in request)
    if "init_images" in request:
        request["init_images"] = [encoded(np.asarray(PICTURE))]
    settle_noise()
    answer = post(tab, request)
    assert answer.status_code in (200, 422), answer.text
    assume(answer.status_code == 200)
    for image, text in zip(pictures(answer), infotexts(answer), strict=True):
        assert off_by(request, pasted(browser, tab, text, picture), image) == 0, text
