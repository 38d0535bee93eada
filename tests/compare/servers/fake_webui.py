"""Servers that answer as a WebUI with this extension does, on 127.0.0.1."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

SAMPLERS = {"DPM++ 2M": ["k_dpmpp_2m"], "Euler": ["k_euler"], "Heun": ["k_heun"]}
OPTIONS = {"sd_model_checkpoint": "small.safetensors [0123456789]", "samples_format": "png"}
SCRIPTS = ["hidiffusion", "few-step", "few-step record", "x/y/z plot"]
METHODS = ["HiDiffusion", "Deep Shrink"]


class FakeWebUI:
    """A server in a thread.

    `served` counts what was answered with an image, `asked` has every payload that came. `meddle(payload, number)` is
    called before each answer to txt2img (`number` from 1) and may return (status, bytes) to be sent instead, a third
    item for another Content-Length, HANG or DIE.
    """

    HANG, DIE = "hang", "die"

    def __init__(self, meddle=None, credentials=None, **options):
        self.served, self.asked = Counter(), []
        self.scripts, self.samplers, self.options = list(SCRIPTS), dict(SAMPLERS), {**OPTIONS, **options}
        self.methods = list(METHODS)
        self.meddle, self.credentials = meddle or (lambda payload, number: None), credentials
        self.over, self._lock = threading.Event(), threading.Lock()
        self.busy = self.most_at_once = 0
        self._httpd = _Httpd(("127.0.0.1", 0), type("Handler", (_Handler,), {"webui": self}))
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.port = self._httpd.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self.die()
        self._thread.join()

    def die(self):
        """Close every socket; a request that hangs ends."""
        self.over.set()
        self._httpd.shutdown()
        self._httpd.server_close()

    def txt2img(self, payload):
        """Status and body of the answer, or HANG or DIE."""
        with self._lock:
            self.asked.append(payload)
            number = len(self.asked)
            self.busy += 1
            self.most_at_once = max(self.busy, self.most_at_once)
        try:
            meddled = self.meddle(payload, number)
            if meddled is None:
                self.served[said(payload)] += 1
                return 200, json.dumps(answer(payload, self.samplers, self.options)).encode()
            return meddled
        finally:
            with self._lock:
                self.busy -= 1

    def get(self, path):
        if path == "samplers":
            return [{"name": name, "aliases": aliases, "options": {}} for name, aliases in self.samplers.items()]
        return {"script-info": self.script_info(), "options": self.options}.get(path)

    def script_info(self):
        """Every script of both tabs, with the first arguments of HiDiffusion's."""
        given = {"hidiffusion": [argument("HiDiffusion", False), argument("Method", METHODS[0], self.methods)]}
        return [
            {"name": name, "is_alwayson": "/" not in name, "is_img2img": tab, "args": given.get(name, [])}
            for tab in (False, True)
            for name in self.scripts
        ]


def argument(label, value, choices=None):
    """A script's argument, as the host describes its component."""
    return {"label": label, "value": value, "minimum": None, "maximum": None, "step": None, "choices": choices}


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.webui.get(self.path.removeprefix("/sdapi/v1/"))
        if self._allowed():
            self._send(200 if body is not None else 404, json.dumps(body or {"detail": "Not Found"}).encode())

    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        came = self.webui.txt2img(payload)
        if came == FakeWebUI.HANG:
            self.webui.over.wait()
        elif came == FakeWebUI.DIE:
            self.webui.die()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(*came)

    def _allowed(self):
        wanted = self.webui.credentials
        sent = self.headers.get("Authorization", "")
        if wanted is None or sent == "Basic " + base64.b64encode(wanted.encode()).decode():
            return True
        self._send(401, json.dumps({"detail": "Incorrect username or password"}).encode())
        return False

    def _send(self, status, body, announced=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing."""


def said(payload):
    """What tells the cells of a test apart."""
    method = payload["alwayson_scripts"].get("HiDiffusion", {"args": [{}]})["args"][0].get("method", "None")
    return payload["prompt"], payload["seed"], payload["sampler_name"], payload["cfg_scale"], payload["steps"], method


def answer(payload, samplers=SAMPLERS, options=OPTIONS):
    """The host's answer: the first sampler for a name it does not know, and the options that were overridden."""
    sampler = payload["sampler_name"] if payload["sampler_name"] in samplers else next(iter(samplers))
    made = {**payload, "sampler_name": sampler}
    size = payload.get("width", 32), payload.get("height", 32)
    steps, overrides = payload["steps"], payload["override_settings"]
    checkpoint = overrides.get("sd_model_checkpoint", options["sd_model_checkpoint"]).split(".")[0]
    cost = f', Few-Step cost: "{steps} evals, {steps / 4:.2f} s"' if overrides.get("fewstep_record") else ""
    text = f"{payload['prompt']}\nSteps: {steps}, Sampler: {sampler}, Size: {size[0]}x{size[1]}{cost}, Version: v1.10.1"
    info = {
        **{name: made[name] for name in ("prompt", "seed", "steps", "cfg_scale", "sampler_name")},
        "width": size[0],
        "height": size[1],
        "sd_model_name": checkpoint,
        "infotexts": [text],
    }
    return {"images": [base64.b64encode(png(made, size)).decode()], "parameters": payload, "info": json.dumps(info)}


def png(payload, size):
    """A picture that depends on everything that was asked."""
    digest = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).digest()
    file = io.BytesIO()
    Image.frombytes("RGB", (4, 2), digest[:24]).resize(size, Image.Resampling.BILINEAR).save(file, "PNG")
    return file.getvalue()


@contextmanager
def webuis(*meddles, **options):
    """A server for each way of meddling."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeWebUI(meddle, **options)) for meddle in meddles]
