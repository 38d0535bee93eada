"""The command that checks links to the outside, against a server of its own."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.docs.pages import ROOT
from tools import links


@pytest.fixture
def address():
    """A server: /good, /get-only (which refuses HEAD), /moved (to /good), /slow; everything else is missing."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            if self.path == "/slow":
                over.wait(10)
            statuses = {"/good": 200, "/moved": 302, "/get-only": 405 if self.command == "HEAD" else 200}
            self.send_response(statuses.get(self.path, 404))
            if self.path == "/moved":
                self.send_header("Location", "/good")
            self.end_headers()

        def log_message(self, *arguments):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The exit status and the lines of the command for a page."""

    def run(text):
        page = tmp_path / "page.md"
        page.write_text(text)
        monkeypatch.setattr(sys, "argv", ["links", str(page), "--timeout", "0.5"])
        return links.main(), capsys.readouterr().out.splitlines()

    return run


def test_good_links(address, command):
    assert command(f"[a]({address}/good#there) <{address}/get-only> [b]({address}/moved)") == (0, [])


def test_bad_links(address, command):
    status, lines = command(f"[a]({address}/gone) ![b]({address}/slow) [c]({address}/gone) [d]({address}/good)")
    assert status == 1
    assert lines == [f"page.md: {address}/gone: 404 Not Found", f"page.md: {address}/slow: ReadTimeout"]


def test_a_server_that_is_not_there(command):
    assert command("[a](http://127.0.0.1:9/)") == (1, ["page.md: http://127.0.0.1:9/: ConnectionError"])


def test_code_and_links_inside_of_the_project_are_left_out(command):
    assert command("[a](b.md) `[b](http://127.0.0.1:9/)`\n```\n[c](http://127.0.0.1:9/)\n```\n") == (0, [])


def test_all_pages_are_asked_by_default():
    found = links.outside_links(links.pages(ROOT))
    assert ROOT / "README.md" in found["https://github.com/AUTOMATIC1111/stable-diffusion-webui"]
    assert not [url for url in found if "127.0.0.1" in url]
