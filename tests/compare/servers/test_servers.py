"""Addresses of servers, and what they must have before the first image."""

from __future__ import annotations

import pytest

from lib_fewstep.compare.servers.addresses import server_from, servers_from, without_credentials
from lib_fewstep.compare.servers.dask_client import connected
from lib_fewstep.compare.servers.remote import SILENT, Server, call
from lib_fewstep.compare.servers.survey import survey
from lib_fewstep.options import SettingError
from tests.compare.servers.fake_webui import FakeWebUI, webuis


@pytest.fixture(scope="module")
def client():
    with connected(None, 2) as client:
        yield client


@pytest.mark.parametrize(
    ("url", "address", "credentials"),
    [
        ("http://host:7860", "http://host:7860", None),
        ("https://host/webui/", "https://host/webui", None),
        ("http://me:pass@host:7860", "http://host:7860", ("me", "pass")),
        ("http://me:p%40ss%2F@host:7860", "http://host:7860", ("me", "p@ss/")),
        ("http://me@[::1]:7860", "http://[::1]:7860", ("me", "")),
    ],
)
def test_addresses(url, address, credentials):
    server = server_from(url)
    assert (server.address, server.credentials) == (address, credentials)


@pytest.mark.parametrize(
    "url",
    [
        "me:secret@host:7860",
        "http://me:secret@",
        "http://me:sec/ret@host:7860",
        "http://me:12/secret@host",
        "http://me:12?secret@host",
        "http://me:12#secret@host",
        "http://me:secret@host:seven",
        "http://me:secret@host:0",
        "ftp://me:secret@host",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_credentials(url):
    with pytest.raises(SettingError, match=r"--server = .* must be like http://host:7860") as refusal:
        server_from(url)
    assert "sec" not in str(refusal.value)


def test_a_server_is_there_once():
    with pytest.raises(SettingError, match="'http://host:1' is not allowed: it is given twice"):
        servers_from(["http://me:secret@host:1", "http://host:2", "http://host:1/"])


def test_credentials_are_in_no_representation():
    assert "secret" not in repr(server_from("http://me:secret@host"))
    assert without_credentials("unknown: http://me:secret@host x") == "unknown: http://host x"


def asked(client, *servers, samplers=("Euler",), methods=(), any_checkpoint=False):
    found = [Server(server.address) for server in servers]
    return survey(client, found, samplers, methods, any_checkpoint=any_checkpoint)


def test_aliases_are_names(client):
    with webuis(None, None) as servers:
        found = asked(client, *servers, samplers=("k_euler", "Heun"))
    assert (found.samplers["k_euler"], found.samplers["Heun"], found.checkpoint) == (
        "Euler",
        "Heun",
        "small.safetensors",
    )


def test_a_server_without_the_sampler_is_named(client):
    with webuis(None, None) as servers:
        del servers[1].samplers["Heun"]
        with pytest.raises(SettingError, match=f"'Heun' is not allowed: {servers[1].address} has DPM.. 2M, Euler"):
            asked(client, *servers, samplers=("Euler", "Heun"))


@pytest.mark.parametrize("script", ["hidiffusion", "few-step record"])
def test_a_server_without_the_extension_is_named(client, script):
    with FakeWebUI() as server:
        server.scripts.remove(script)
        with pytest.raises(SettingError, match=f"{server.address}.*extension is missing there .*'{script}'"):
            asked(client, server)


def test_a_server_without_the_method_is_named(client):
    with webuis(None, None) as servers:
        servers[1].methods = ["HiDiffusion", "Later"]
        assert asked(client, servers[1], methods=("Later", "HiDiffusion"))
        with pytest.raises(SettingError) as refusal:
            asked(client, *servers, methods=("HiDiffusion", "Deep Shrink"))
    address = servers[1].address
    assert str(refusal.value) == f"The method 'Deep Shrink' is not allowed: {address} has HiDiffusion, Later."


def test_servers_have_the_same_checkpoint_unless_the_request_names_one(client):
    with FakeWebUI() as one, FakeWebUI(sd_model_checkpoint="large.safetensors [9876543210]") as other:
        with pytest.raises(SettingError, match=f"small.*at {one.address} and 'large.*at {other.address}"):
            asked(client, one, other)
        assert asked(client, one, other, any_checkpoint=True).checkpoint == ""


def test_a_checkpoint_may_have_no_hash_yet(client):
    with FakeWebUI() as one, FakeWebUI(sd_model_checkpoint="small.safetensors") as other:
        assert asked(client, one, other).checkpoint == asked(client, other, one).checkpoint == "small.safetensors"
        other.options["sd_model_checkpoint"] = "small.safetensors [ffffffffff]"
        with pytest.raises(SettingError, match="different checkpoints"):
            asked(client, one, other)


def test_all_known_hashes_are_compared(client):
    """Also those of two servers that are not the first."""
    titles = ["small.safetensors", "small.safetensors [0123456789]", "small.safetensors [ffffffffff]"]
    with webuis(None, None, None) as servers:
        for server, title in zip(servers, titles, strict=True):
            server.options["sd_model_checkpoint"] = title
        one, two = servers[1].address, servers[2].address
        with pytest.raises(SettingError, match=rf"0123456789\]' at {one} and .*\[ffffffffff\]' at {two}"):
            asked(client, *servers)
        servers[2].options["sd_model_checkpoint"] = titles[1]
        assert asked(client, *servers).checkpoint == "small.safetensors"
        servers[2].options["sd_model_checkpoint"] = "large.safetensors"
        with pytest.raises(SettingError, match="different checkpoints"):
            asked(client, *servers)


def test_images_must_arrive_as_they_were_made(client):
    with FakeWebUI(samples_format="jpg") as server, pytest.raises(SettingError, match="samples_format is 'jpg'"):
        asked(client, server)


def test_a_silent_server_is_named(client):
    with FakeWebUI() as one, FakeWebUI() as other:
        other.die()
        with pytest.raises(SettingError, match=f"{other.address}.* gives no answer: ConnectionError"):
            asked(client, one, other)


def test_a_server_that_refuses_is_named(client):
    with FakeWebUI(credentials="me:secret") as server:
        with pytest.raises(SettingError, match=f"{server.address}.*HTTP 401: Incorrect username or password"):
            asked(client, server)
        url = server.address.replace("//", "//me:secret@")
        assert survey(client, [server_from(url)], ["Euler"], [], any_checkpoint=False).samplers


def test_another_api_is_named(client):
    with FakeWebUI() as server:
        server.script_info = lambda: [None]
        with pytest.raises(SettingError, match=f"{server.address}.*does not have the WebUI's API"):
            asked(client, server)


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (
            422,
            b'{"detail": "HiDiffusion: t1 = -1\\nis not allowed."}',
            "HTTP 422: HiDiffusion: t1 = -1 is not allowed.",
        ),
        (
            500,
            b'{"error": "OutOfMemoryError", "detail": "", "errors": "CUDA out of memory"}',
            "HTTP 500: CUDA out of memory",
        ),
        (500, b'{"error": "OutOfMemoryError", "detail": "", "errors": ""}', "HTTP 500: OutOfMemoryError"),
        (500, b"<html>", "HTTP 500: Internal Server Error"),
        (422, b'{"detail": [{"loc": ["width"]}]}', "HTTP 422: [{'loc': ['width']}]"),
        (500, b"[" * 100_000, "HTTP 500: Internal Server Error"),
    ],
)
def test_what_a_refusal_says(status, body, line):
    with FakeWebUI(lambda payload, number: (status, body)) as server:
        assert call(Server(server.address), "txt2img", {}, 5.0) == (status, line)


@pytest.mark.parametrize(
    ("meddled", "word"),
    [
        ((200, b'{"images": ["'), "JSONDecodeError"),
        ((200, b'{"images": []}', 1000), "ChunkedEncodingError"),
        ((200, b"[" * 100_000), "RecursionError"),
        (FakeWebUI.DIE, "ConnectionError"),
        (FakeWebUI.HANG, "ReadTimeout"),
    ],
)
def test_no_whole_answer_is_silence(meddled, word):
    with FakeWebUI(lambda payload, number: meddled) as server:
        assert call(Server(server.address), "txt2img", {}, 0.5) == (SILENT, word)
