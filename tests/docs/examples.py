"""The examples of docs/api.md that need a WebUI: what they send, running them, and what the infotext must then say."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lib_fewstep.sampling.presets import PRESETS
from tests.docs.pages import API, blocks, commands, read, spans

ADDRESS = "http://127.0.0.1:7860"

LEFT_TO_THE_WEBUI = (None, "automatic")
"""What a client sends for a field of which the program says nothing."""

Answer = tuple[int, dict[str, Any]]
"""A status, and what is sent as JSON."""


def requests(page: Path) -> list[str]:
    """The requests of a page, as they are written."""
    return [block.text for block in blocks(read(page)) if block.language == "json"]


def programs() -> dict[str, str]:
    """The programs of docs/api.md that send a request, by the first package that they import."""
    shown = (block.text for block in blocks(read(API)) if block.language == "python")
    return {text.split()[1]: text for text in shown if ADDRESS in text}


def line_of_shell() -> str:
    """The line of docs/api.md that sends a request."""
    (line,) = (line for line in commands(read(API)) if line.startswith("curl "))
    return line


def body_of_shell() -> dict[str, Any]:
    """What that line sends."""
    words = shlex.split(line_of_shell())
    return dict(json.loads(words[words.index("-d") + 1]))


def span(start: str) -> str:
    """What docs/api.md has in backticks and begins like this."""
    (found,) = {found for found in spans(read(API)) if found.startswith(start)}
    return found


def promised(request: dict[str, Any]) -> list[str]:
    """What the infotext must say of a request."""
    scripts = {title: script["args"][0] for title, script in request.get("alwayson_scripts", {}).items()}
    wide, few = scripts.get("HiDiffusion"), scripts.get("Few-Step", {})
    said = [f"HiDiffusion method: {wide.get('method', 'HiDiffusion')}"] if wide is not None else []
    said += [f"Few-Step timesteps: {' '.join(map(str, few['timesteps']))}"] if "timesteps" in few else []
    said += [f"Few-Step preset: {few['preset']}"] if "preset" in few else []
    said += [f"Script: {request['script_name']}"] if request.get("script_name") else []
    return said + [f"{label}: {value}" for label, value in _set(request, few).items()]


def _set(request: dict[str, Any], few: dict[str, Any]) -> dict[str, str]:
    """What the request or its preset sets of the WebUI's own values, by their labels in an infotext."""
    fields = {"sampler": "sampler_name", "schedule": "scheduler", "steps": "steps", "cfg": "cfg_scale"}
    values = {name: request[field] for name, field in fields.items() if request.get(field) not in LEFT_TO_THE_WEBUI}
    if "preset" in few:
        values |= {name: getattr(PRESETS[few["preset"]], name) for name in fields.keys() - few.get("keep", [])}
    if "timesteps" in few:
        values["steps"] = len(few["timesteps"])
    labels = {"sampler": "Sampler", "schedule": "Schedule type", "steps": "Steps", "cfg": "CFG scale"}
    return {labels[name]: f"{value:g}" if name == "cfg" else str(value) for name, value in values.items()}


@contextmanager
def served(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of txt2img that sends what `answer` makes of a request; gives its address and the requests that came."""
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/sdapi/v1/txt2img"
            assert self.headers["Content-Type"] == "application/json"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent.append(request)
            status, body = answer(request)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

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


def run_program(text: str, address: str, folder: Path) -> str:
    """What a program prints that runs in a folder, with another address."""
    return _run([sys.executable, "-c", text.replace(ADDRESS, address)], folder)


def run_shell(line: str, address: str, folder: Path) -> str:
    """What a line of shell prints, with another address."""
    return _run(["sh", "-c", line.replace(ADDRESS, address)], folder)


def _run(command: list[str], folder: Path) -> str:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
