"""What the servers of a comparison must have before the first image."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lib_fewstep.compare.servers.dask_client import gather
from lib_fewstep.compare.servers.remote import Server
from lib_fewstep.options import SettingError

HIGHRES = "hidiffusion"
SCRIPTS = (HIGHRES, "few-step record")
SURVEY_SECONDS = 30.0
_PATHS = ("samplers", "script-info", "options")
_METHOD = "Method"
"""The label of the argument that chooses the high-resolution method."""
_HASH = re.compile(r"(.*) \[(\w+)\]")


@dataclass(frozen=True)
class Survey:
    """What the servers have in common: each name or alias of a sampler with its name, and the checkpoint."""

    samplers: Mapping[str, str]
    checkpoint: str


def survey(
    client: Any, servers: Sequence[Server], samplers: Sequence[str], methods: Sequence[str], *, any_checkpoint: bool
) -> Survey:
    """Ask all servers whether they can take part; raises SettingError for the first that cannot.

    Each must have the samplers, the extension and its high-resolution methods. With `any_checkpoint` the servers may
    have loaded different ones.
    """
    calls = {(server, path): (server, path, None, SURVEY_SECONDS) for server in servers for path in _PATHS}
    answers = gather(client, calls)
    surveys = [
        _survey(server, [_body(server, path, *answers[server, path]) for path in _PATHS], samplers, methods)
        for server in servers
    ]
    if any_checkpoint:
        return Survey(surveys[0].samplers, "")
    _check_checkpoints([(server, found.checkpoint) for server, found in zip(servers, surveys, strict=True)])
    return Survey(surveys[0].samplers, _parts(surveys[0].checkpoint)[0])


def _body(server: Server, path: str, status: int, body: Any) -> Any:
    if status == 200:
        return body
    why = body if status else f"no answer: {body}"
    raise SettingError(
        f"--server = {server.address!r} cannot be used: /sdapi/v1/{path} gives {why} (is the WebUI started with --api, "
        "and are its credentials in the address?)."
    )


def _survey(server: Server, bodies: Sequence[Any], wanted: Sequence[str], methods: Sequence[str]) -> Survey:
    samplers, scripts, options = bodies
    try:
        names = {alias: item["name"] for item in samplers for alias in item["aliases"]}
        names |= {item["name"]: item["name"] for item in samplers}
        arguments = {script["name"].lower(): script["args"] for script in scripts if not script["is_img2img"]}
        its_methods = [
            name for given in arguments.get(HIGHRES, ()) if given["label"] == _METHOD for name in given["choices"]
        ]
        checkpoint, image_format = options["sd_model_checkpoint"], options["samples_format"]
    except (AttributeError, KeyError, TypeError) as error:
        raise SettingError(
            f"--server = {server.address!r} cannot be used: it does not have the WebUI's API."
        ) from error
    _check_samplers(server, names, wanted)
    _check_extension(server, arguments.keys(), its_methods, methods)
    _check_format(server, str(image_format))
    return Survey(names, checkpoint or "")


def _check_samplers(server: Server, samplers: Mapping[str, str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in samplers:
            names = ", ".join(dict.fromkeys(samplers.values()))
            raise SettingError(f"The sampler {name!r} is not allowed: {server.address} has {names}.")


def _check_extension(
    server: Server, scripts: Collection[str], its_methods: Sequence[str], wanted: Sequence[str]
) -> None:
    for title in SCRIPTS:
        if title not in scripts:
            raise SettingError(
                f"--server = {server.address!r} cannot be used: this extension is missing there (no script {title!r})."
            )
    for name in wanted:
        if name not in its_methods:
            raise SettingError(f"The method {name!r} is not allowed: {server.address} has {', '.join(its_methods)}.")


def _check_format(server: Server, image_format: str) -> None:
    if image_format.lower() != "png":
        raise SettingError(
            f"--server = {server.address!r} cannot be used: its option samples_format is {image_format!r}, but must be "
            "'png', so that images arrive unchanged."
        )


def _check_checkpoints(loaded: Sequence[tuple[Server, str]]) -> None:
    """Of any two the names must be the same, and the hashes where both are known."""
    for (first, checkpoint), (server, other) in combinations(loaded, 2):
        (name, sha), (other_name, other_sha) = _parts(checkpoint), _parts(other)
        if name != other_name or (sha and other_sha and sha != other_sha):
            raise SettingError(
                f"The servers have different checkpoints, {checkpoint!r} at {first.address} and {other!r} at "
                f"{server.address}: load the same one, or set sd_model_checkpoint in request.override_settings."
            )


def _parts(title: str) -> tuple[str, str]:
    """Name and short hash of a checkpoint's title; the hash is missing until the WebUI has computed it."""
    match = _HASH.fullmatch(title)
    return (match[1], match[2]) if match else (title, "")
