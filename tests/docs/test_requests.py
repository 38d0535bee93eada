"""The documents' requests are sent as they are written: to the WebUI's stand-in, and over HTTP to it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

import pytest
from PIL import Image

from tests.docs.light import LIGHT
from tests.docs.pages import API, PAGES, blocks, commands, name_of, read, spans
from tests.webui import standin
from tests.webui.exact import SCRIPTS, unchanged

ADDRESS = "http://127.0.0.1:7860"
REQUESTS = [block.text for page in PAGES for block in blocks(read(page)) if block.language == "json"]


@pytest.fixture(scope="module")
def host():
    """A host with a light model of SDXL's layout."""
    with patch.dict(standin.RECIPES, light=LIGHT), standin.webui("light", SCRIPTS) as made:
        yield made


@contextmanager
def served(host):
    """A server that answers txt2img as the WebUI does; gives its address and what it has been sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/sdapi/v1/txt2img"
            assert self.headers["Content-Type"] == "application/json"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append(request)
            result = host.api.txt2img(request)
            images = [standin.as_base64(image) for image in result.images]
            answer = {"images": images, "parameters": request, "info": result.info, "detail": result.message}
            self.send_response(result.status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def promised(request):
    """What the infotext must say of a request."""
    scripts = {title: script["args"][0] for title, script in request.get("alwayson_scripts", {}).items()}
    wide, few = scripts.get("HiDiffusion"), scripts.get("Few-Step", {})
    said = [f"HiDiffusion method: {wide.get('method', 'HiDiffusion')}"] if wide is not None else []
    said += [f"Few-Step preset: {few['preset']}"] if "preset" in few else []
    said += [f"Few-Step timesteps: {' '.join(map(str, few['timesteps']))}"] if "timesteps" in few else []
    said += [f"Sampler: {request['sampler_name']}"] if "sampler_name" in request else []
    said += [f"Script: {request['script_name']}"] if "script_name" in request else []
    said += [f"Steps: {request['steps']}"] if "steps" in request else []
    return said


def check(host, request, infotext):
    """The infotext says what the request asks for, and nothing was wrong with it."""
    assert promised(request), "the example asks for nothing of this extension's"
    assert [said for said in promised(request) if said not in infotext] == []
    assert not host.errors


@pytest.mark.parametrize("text", dict.fromkeys(REQUESTS))
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
    found = "".join(block.text for block in blocks(read(API)) if block.language == "json")
    assert all(f'"{script}"' in found for script in ("HiDiffusion", "Few-Step", "Few-step comparison"))


def test_the_list_is_read_as_the_page_reads_it(host):
    (listed,) = {span for span in spans(read(API)) if span.startswith('{"args": [true')}
    request = {"alwayson_scripts": {"HiDiffusion": json.loads(listed)}, "width": 128, "height": 96, "steps": 4}
    result = host.api.txt2img(request)
    assert (result.status, result.message) == (200, "")
    assert "HiDiffusion method: Deep Shrink, HiDiffusion preset: Paper" in result.infotexts[0]


def test_the_refusal_is_the_real_one(host):
    (sentence,) = {span for span in spans(read(API)) if span.startswith("HiDiffusion: t1 = -1 ")}
    result = host.api.txt2img({"alwayson_scripts": {"HiDiffusion": {"args": [{"t1": -1}]}}, "width": 128})
    assert (result.status, result.message) == (422, sentence)


def test_the_program_makes_an_image(host, tmp_path):
    (program,) = (block.text for block in blocks(read(API)) if block.language == "python" and ADDRESS in block.text)
    with served(host) as (address, sent):
        run = subprocess.run(
            [sys.executable, "-c", program.replace(ADDRESS, address)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    (request,) = sent
    check(host, request, run.stdout)
    (file,) = tmp_path.iterdir()
    with Image.open(file) as image:
        assert image.size == (request["width"], request["height"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_line_of_shell_makes_an_image(host):
    (line,) = (line for line in commands(read(API)) if line.startswith("curl "))
    with served(host) as (address, sent):
        words = line.replace(ADDRESS, address)
        run = subprocess.run(["sh", "-c", words], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert run.returncode == 0, run.stderr
    answer, (request,) = json.loads(run.stdout), sent
    check(host, request, json.loads(answer["info"])["infotexts"][0])
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        image.load()


def test_every_block_is_of_a_kind_that_is_tested():
    kinds = {block.language for page in PAGES for block in blocks(read(page))}
    assert kinds <= {"", "sh", "json", "yaml", "python", "bibtex", "text", "diff", "markdown"}, name_of(PAGES[0])
