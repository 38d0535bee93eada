"""What a server's answer to a request for an image says."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from typing import Any

from PIL import Image

from lib_fewstep.compare.record import cost_from
from lib_fewstep.compare.servers.finished_rows import Row
from lib_fewstep.compare.servers.plan import Task
from lib_fewstep.options import SettingError, shown

_COST = re.compile(r'Few-Step cost: ("(?:[^"\\]|\\.)*"|[^,\n]*)')
_AS_ASKED = ("sampler_name", "steps", "cfg_scale")


def failed(task: Task, error: str, server: str) -> Row:
    """The row of an image that could not be made."""
    encodable = error.encode(errors="backslashreplace").decode()  # an answer's JSON may hold half a surrogate pair
    return Row(task.key, dataclasses.asdict(task.cells[0]), error=encodable, details={"server": server})


def row_from(task: Task, body: Any, server: str) -> tuple[Row, bytes]:
    """Row and PNG from the JSON of an answer; a row with an error and no bytes if it does not hold what was asked."""
    try:
        png = base64.b64decode(body["images"][0], validate=True)
        _check_png(png)
        info = json.loads(body["info"])
        _check_as_asked(task, info)
        evaluations, seconds = _cost(info["infotexts"][0])
        details = {**_details(info), "server": server}
    except SettingError as error:
        return failed(task, str(error), server), b""
    except Exception as error:  # noqa: BLE001 (whatever an answer holds, it ends no run)
        reason = f"The answer contains no image with its cost ({type(error).__name__}: {error})."
        return failed(task, " ".join(reason.split()), server), b""
    cell = dataclasses.asdict(task.cells[0])
    return Row(task.key, cell, evaluations, seconds, details=details, image=f"{task.key}.png"), png


def _check_png(data: bytes) -> None:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.load()


def _details(info: dict[str, Any]) -> dict[str, Any]:
    """What the table says about an image besides its cost. Raises TypeError if it is not what the WebUI sends."""
    details = {"model": info["sd_model_name"], "width": info["width"], "height": info["height"]}
    for (name, value), kind in zip(details.items(), (str, int, int), strict=True):
        if type(value) is not kind:
            raise TypeError(f"{name} = {shown(value)}")
    return details


def _check_as_asked(task: Task, info: dict[str, Any]) -> None:
    """Another script, such as a preset of Few-Step, may have changed what is compared."""
    for name in _AS_ASKED:
        if info[name] != task.payload[name]:
            raise SettingError(
                f"The image was made with {name} = {shown(info[name])} instead of {task.payload[name]!r}: something in "
                "the request, such as a preset, changes what is compared."
            )


def _cost(infotext: str) -> tuple[int, float]:
    """The cost in an infotext, where the host quotes it for its comma; a prompt before it may hold the same words."""
    *_, last = _COST.findall(infotext) or [""]
    if not last:
        raise SettingError("The image's infotext has no Few-Step cost: the server has not recorded it.")
    return cost_from(json.loads(last) if last.startswith('"') else last)
