"""The documents' requests are sent as they are written: to the WebUI's stand-in, and over HTTP to it."""

from __future__ import annotations

import base64
import io
import json
import shutil
from unittest.mock import patch

import pytest
from PIL import Image

from tests.docs.examples import (
    body_of_shell,
    line_of_shell,
    programs,
    promised,
    requests,
    run_program,
    run_shell,
    served,
    span,
)
from tests.docs.light import LIGHT
from tests.docs.pages import API, PAGES, blocks, name_of, read
from tests.webui import standin
from tests.webui.exact import SCRIPTS, unchanged

WITH_PACKAGES_OF_THEIR_OWN = {"webuiapi"}
"""Programs that `make live-client` runs, which installs the package."""


@pytest.fixture(scope="module")
def host():
    """A host with a light model of SDXL's layout."""
    with patch.dict(standin.RECIPES, light=LIGHT), standin.webui("light", SCRIPTS) as made:
        yield made


def answered_by(host):
    """What a host answers to a request, as the WebUI sends it."""

    def answer(request):
        result = host.api.txt2img(request)
        images = [standin.as_base64(image) for image in result.images]
        return result.status, {"images": images, "parameters": request, "info": result.info, "detail": result.message}

    return answer


def check(host, request, infotext):
    """The infotext says what the request asks for, and nothing was wrong with it."""
    assert promised(request), "the example asks for nothing of this extension's"
    assert [said for said in promised(request) if said not in infotext] == []
    assert not host.errors


@pytest.mark.parametrize("text", dict.fromkeys(text for page in PAGES for text in requests(page)))
def test_a_request_is_answered(host, text):
    request = json.loads(text)
    with unchanged(host):
        result = host.api.txt2img(request)
    assert result.status == 200, result.message
    assert "Few-Step: " not in result.comments, "an example is not to need advice"
    size = tuple(request.get(side, 512) for side in ("width", "height"))
    assert size in {image.size for image in result.images[-1:]} or "script_name" in request
    check(host, request, result.infotexts[0])


def test_there_are_requests():
    """One of each script."""
    found = "".join(requests(API))
    assert all(f'"{script}"' in found for script in ("HiDiffusion", "Few-Step", "Few-step comparison"))


def test_the_list_is_read_as_the_page_reads_it(host):
    script = json.loads(span('{"args": [true'))
    request = {"alwayson_scripts": {"HiDiffusion": script}, "width": 128, "height": 96, "steps": 4}
    result = host.api.txt2img(request)
    assert (result.status, result.message) == (200, "")
    assert "HiDiffusion method: Deep Shrink, HiDiffusion preset: Paper" in result.infotexts[0]


def test_the_refusal_is_the_real_one(host):
    result = host.api.txt2img({"alwayson_scripts": {"HiDiffusion": {"args": [{"t1": -1}]}}, "width": 128})
    assert (result.status, result.message) == (422, span("HiDiffusion: t1 = -1 "))


@pytest.mark.parametrize("package", sorted(programs().keys() - WITH_PACKAGES_OF_THEIR_OWN))
def test_the_program_makes_an_image(host, package, tmp_path):
    with served(answered_by(host)) as (address, sent):
        printed = run_program(programs()[package], address, tmp_path)
    (request,) = sent
    check(host, request, printed)
    (file,) = tmp_path.iterdir()
    with Image.open(file) as image:
        assert image.size == (request["width"], request["height"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_line_of_shell_makes_an_image(host, tmp_path):
    with served(answered_by(host)) as (address, sent):
        answer = json.loads(run_shell(line_of_shell(), address, tmp_path))
    assert sent == [body_of_shell()]
    check(host, sent[0], json.loads(answer["info"])["infotexts"][0])
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        image.load()


def test_every_block_is_of_a_kind_that_is_tested():
    kinds = {block.language for page in PAGES for block in blocks(read(page))}
    assert kinds <= {"", "sh", "json", "yaml", "python", "bibtex", "text", "diff", "markdown"}, name_of(PAGES[0])
