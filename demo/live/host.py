"""A running WebUI as its API shows it, and the pictures that it has made so far."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image as PilImage
from PIL.PngImagePlugin import PngInfo

from demo.install import NAME
from demo.model.layouts import Layout
from demo.pictures.scenes import Picture, as_bytes

ROOT = Path(__file__).parents[2]
TIMEOUT = 600
PINNED = {
    "CLIP_stop_at_last_layers": 1,
    "img2img_fix_steps": False,
    "initial_noise_multiplier": 1.0,
    "s_min_uncond": 0.0,
    "token_merging_ratio": 0.0,
}
"""Settings of the WebUI on which the counts depend, for these requests alone."""


class HostError(Exception):
    """The WebUI does not do what is asked; the sentence says why."""


@dataclass(frozen=True)
class Host:
    """A running WebUI, and the folder of its pictures."""

    url: str
    folder: Path

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer of the API, GET without a body. Raises HostError for a refusal and where nobody answers."""
        address = f"{self.url}/sdapi/v1/{path}"
        try:
            answer = requests.request("GET" if body is None else "POST", address, json=body, timeout=TIMEOUT)
        except requests.Timeout as error:
            raise HostError(f"{self.url} does not answer within {TIMEOUT} seconds ({error})") from error
        except requests.RequestException as error:
            raise HostError(f"{self.url} does not answer ({error})") from error
        if answer.status_code == requests.codes.not_found:
            raise HostError(f"{self.url} has no {path} in its API: start the WebUI with --api")
        if answer.status_code != requests.codes.ok:
            raise HostError(f"{path}: {answer.status_code} {answer.text[:500]}")
        try:
            return answer.json()
        except ValueError as error:
            raise HostError(f"{path}: {self.url} answers with something else than JSON: is it a WebUI?") from error

    @contextmanager
    def using(self, layout: Layout) -> Iterator[None]:
        """A checkpoint is loaded meanwhile. Raises HostError unless it is installed as it is here."""
        before = self.ask("options")["sd_model_checkpoint"]
        try:
            self.ask("options", {"sd_model_checkpoint": self._installed(layout)["title"]})
            if self._installed(layout)["sha256"] != digest(layout.path):
                raise HostError(
                    f"{self.url} has another {layout.path.name} than this project, or computes no hashes: "
                    "run python -m demo.install WEBUI again and restart the WebUI"
                )
            yield
        finally:
            self.ask("options", {"sd_model_checkpoint": before})

    def _installed(self, layout: Layout) -> dict[str, Any]:
        """What the WebUI says of a checkpoint; it knows the file's hash once it has loaded it."""
        name = f"{NAME}_{layout.path.stem}"
        for one in self.ask("sd-models"):
            if one["model_name"] == name:
                found: dict[str, Any] = one
                return found
        raise HostError(f"{self.url} has no {layout.path.name}: put it there with: python -m demo.install WEBUI")

    def pictures(self, path: str, body: dict[str, Any]) -> list[Picture]:
        """The pictures of a request, (h, w, 3), values from 0 to 1."""
        answer = self.ask(path, body | {"override_settings": PINNED})
        files = [io.BytesIO(base64.b64decode(image)) for image in answer["images"]]
        return [np.asarray(PilImage.open(file).convert("RGB"), np.float32) / 255 for file in files]

    def picture(self, layout: Layout, way: str, lora: str, path: str, body: dict[str, Any]) -> tuple[Picture, float]:
        """The one picture of a request, and its seconds.

        It comes from the folder if the same WebUI made it with the same weights, settings and code of this extension.
        """
        weights = [digest(layout.path), digest(layout.lora_path(lora)) if lora else ""]
        request = json.dumps([self.url, weights, extension(), PINNED, path, body], sort_keys=True)
        name = f"{body['seed']}-{hashlib.sha256(request.encode()).hexdigest()[:12]}.png"
        place = self.folder / layout.name / way / name
        if not place.is_file():
            started = time.perf_counter()
            (found,) = self.pictures(path, body)
            said = PngInfo()
            said.add_text("seconds", f"{time.perf_counter() - started:.3f}")
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_suffix(".fresh")
            PilImage.fromarray(as_bytes(found)).save(fresh, "PNG", pnginfo=said)
            fresh.replace(place)  # so that a stop leaves no half of a file
        with PilImage.open(place) as kept:
            kept.load()
            return np.asarray(kept, np.float32) / 255, float(kept.info["seconds"])


@lru_cache
def digest(path: Path) -> str:
    """The SHA-256 of a file of this project."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache
def extension() -> str:
    """The SHA-256 of this extension's code, which the WebUI is taken to run."""
    files = sorted(path for folder in ("lib_fewstep", "scripts") for path in (ROOT / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
