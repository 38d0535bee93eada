"""Agent Scheduler: a queued request gives the image of the same request that is sent."""

from __future__ import annotations

import base64
import io
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.live.client import BASE, URL, get_from_root, pictures, post

QUEUE = "agent-scheduler/v1"
REPOSITORY = "https://github.com/ArtVentureX/sd-webui-agent-scheduler"


@pytest.mark.parametrize("ours", [{"preset": "Paper"}, {"preset": "Paper", "method": "Deep Shrink", "s1": 0.5}])
def test_a_queued_request(ours):
    body = BASE | {"alwayson_scripts": {"HiDiffusion": {"args": [ours]}}, "sampler_name": "Euler CFG++"}
    queued = httpx.post(f"{URL}/{QUEUE}/queue/txt2img", json=body, timeout=600)
    assert queued.status_code == 200, f"Install {REPOSITORY} in this WebUI (tried with commit a337533)."
    task, end = queued.json()["task_id"], time.monotonic() + 600
    while get_from_root(f"{QUEUE}/task/{task}")["data"]["status"] not in ("done", "failed"):
        assert time.monotonic() < end
        time.sleep(1)
    (result,) = get_from_root(f"{QUEUE}/task/{task}/results")["data"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["image"].split(",")[-1]))))
    assert np.array_equal(image, pictures(post("txt2img", body))[0])
    assert f"HiDiffusion method: {ours.get('method', 'HiDiffusion')}" in result["infotext"]
