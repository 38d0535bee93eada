"""Images from several servers: whoever dies, none is lost and none made twice."""

from __future__ import annotations

import base64
import gc
import importlib.util
import json
import os
import struct
import subprocess
import sys
import threading
import zlib

import psutil
import pytest
from distributed import LocalCluster
from tqdm import tqdm

from lib_fewstep.compare.grid import NOT_RUN
from lib_fewstep.compare.servers import dask_client
from lib_fewstep.compare.servers import sweep as sweep_module
from lib_fewstep.compare.servers.answer import row_from
from lib_fewstep.compare.servers.dask_client import connected
from lib_fewstep.compare.servers.finished_rows import Row, Rows
from lib_fewstep.compare.servers.plan import Task, payload_for
from lib_fewstep.compare.servers.remote import Server
from lib_fewstep.compare.servers.sweep import MOST_LOSSES, Sweep
from lib_fewstep.compare.settings import Cell
from lib_fewstep.options import SettingError
from tests.compare.servers.fake_webui import FakeWebUI, answer, png, webuis
from tests.compare.servers.runs import ROOT, command, rows_in, write_config

REQUEST = {"seed": 7, "width": 32, "height": 32}


@pytest.fixture(scope="module")
def client():
    with connected(None, 3) as client:
        yield client


def tasks(count):
    return [task(Cell("a cat", 7, "None", "Euler", 7.0, steps)) for steps in range(1, count + 1)]


def task(cell):
    return Task(f"{cell.steps:016x}", payload_for(REQUEST, cell, cell.sampler), [cell])


def swept(client, rows, servers, wanted, timeout=20.0):
    """Why the sweep stopped, and the sweep."""
    with tqdm(total=len(wanted), disable=True) as progress:
        sweep = Sweep(client, [Server(server.address) for server in servers], rows, timeout, progress)
        return sweep.run(wanted), sweep


def errors(rows, wanted):
    return {task.cells[0].steps: rows.outcome(task.key, task.cells[0]).error for task in wanted}


def test_each_image_is_made_once_and_one_at_a_time(client, tmp_path):
    meeting = threading.Barrier(3, timeout=20)  # all three work at the same time

    def meddle(payload, number):
        if number == 1:
            meeting.wait()

    rows, wanted = Rows(tmp_path), tasks(12)
    with webuis(meddle, meddle, meddle) as servers:
        assert swept(client, rows, servers, wanted)[0] == ""
    assert [server.most_at_once for server in servers] == [1, 1, 1]
    served = sum((server.served for server in servers), start=type(servers[0].served)())
    assert len(served) == 12
    assert set(served.values()) == {1}
    outcome = rows.outcome(wanted[3].key, wanted[3].cells[0])
    assert (outcome.evaluations, outcome.seconds, outcome.error) == (4, 1.0, "")
    assert outcome.image.size == (32, 32)
    assert outcome.details["model"] == "small"
    assert outcome.details["server"] in {server.address for server in servers}


@pytest.mark.parametrize(
    "meddled",
    [FakeWebUI.DIE, FakeWebUI.HANG, (200, b'{"images": ["'), (502, b"<html>"), (401, b"{}")],
    ids=["dies", "hangs", "half JSON", "a gateway alone", "refuses"],
)
def test_a_dead_servers_cell_goes_to_the_others(client, tmp_path, meddled):
    dying = threading.Event()

    def dies(payload, number):
        if number == 2:
            dying.set()
            return meddled
        return None

    def waits(payload, number):
        dying.wait(20)

    rows, wanted = Rows(tmp_path), tasks(8)
    with webuis(dies, waits) as servers:
        reason, sweep = swept(client, rows, servers, wanted, timeout=2.0)
        assert reason == ""
        assert len(servers[0].asked) == 2
    assert sweep.images_made == {servers[0].address: 1, servers[1].address: 7}
    assert set(errors(rows, wanted).values()) == {""}


def test_all_dead(client, tmp_path):
    rows, wanted = Rows(tmp_path), tasks(5)

    def dies(payload, number):
        return FakeWebUI.DIE if number == 2 else None

    with webuis(dies, dies) as servers:
        assert swept(client, rows, servers, wanted)[0] == "no server answers any longer"
    assert sorted(errors(rows, wanted).values()) == ["", "", *[NOT_RUN] * 3]


def test_a_refused_cell_is_its_own_error_and_tried_again_after_a_restart(client, tmp_path):
    def refuses(payload, number):
        if payload["steps"] == 3:
            return 422, b'{"detail": "t1 = -1 is not allowed."}'
        return None

    rows, wanted = Rows(tmp_path), tasks(5)
    with webuis(refuses) as servers:
        assert swept(client, rows, servers, wanted)[0] == ""
    assert errors(rows, wanted) == {1: "", 2: "", 3: "HTTP 422: t1 = -1 is not allowed.", 4: "", 5: ""}
    again = Rows(tmp_path)
    left = [task for task in wanted if not again.finished(task.key)]
    assert [task.cells[0].steps for task in left] == [3]
    with webuis(None) as servers:
        swept(client, again, servers, left)
    assert set(errors(Rows(tmp_path), wanted).values()) == {""}


def raising(fault):
    raise fault


@pytest.mark.parametrize("fault", [ModuleNotFoundError("no requests"), RecursionError("too deep")])
def test_what_dask_loses_again_and_again_is_an_error(client, tmp_path, monkeypatch, fault):
    ways = []

    def losing(client, server, path, payload, timeout):
        ways.append(payload["steps"])
        if payload["steps"] == 2:
            return client.submit(raising, fault, pure=False)
        return real(client, server, path, payload, timeout)

    real = sweep_module.submit
    monkeypatch.setattr(sweep_module, "submit", losing)
    rows, wanted = Rows(tmp_path), tasks(3)
    with webuis(None) as servers:
        assert swept(client, rows, servers, wanted)[0] == ""
    assert errors(rows, wanted) == {1: "", 2: f"Dask has lost this image 3 times ({type(fault).__name__}).", 3: ""}
    assert ways.count(2) == MOST_LOSSES == 3


# --- what is in an answer


def test_an_answer_without_what_was_asked_is_an_error():
    (wanted,) = tasks(1)
    good = answer(wanted.payload)
    told = json.loads(good["info"])
    text = told["infotexts"][0]

    def error(**changes):
        return row_from(wanted, {**good, **changes}, "http://host")[0].error

    def with_info(**changes):
        return error(info=json.dumps({**told, **changes}))

    assert error() == ""
    assert "contains no image with its cost" in error(images=[])
    assert "contains no image with its cost" in error(images=["!"])
    assert "contains no image with its cost" in error(images=[base64.b64encode(b"no picture").decode()])
    half = base64.b64encode(png(wanted.payload, (64, 64))[:-40]).decode()
    assert "contains no image with its cost" in error(images=[half])
    assert "contains no image with its cost" in error(info="{")
    assert "steps = 4 instead of 1" in with_info(steps=4)
    assert "sampler_name = 'DPM++ 2M' instead of 'Euler'" in with_info(sampler_name="DPM++ 2M")
    assert "has no Few-Step cost" in with_info(infotexts=[text.replace("Few-Step", "Other")])
    assert "must be like '8 evals, 1.92 s'" in with_info(infotexts=[text.replace("evals", "nights")])


def bomb():
    """The head of a PNG of 65535 x 65535 pixels, and no more."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return data + struct.pack(">I", 4) + b"IDAT"


def odd_answers():
    """Answers that parse, or nearly, and hold what no WebUI sends."""
    good = answer(tasks(2)[1].payload)
    told = json.loads(good["info"])
    deep = "[" * 300 + "]" * 300
    yield "bomb", {**good, "images": [base64.b64encode(bomb()).decode()]}, "DecompressionBombError"
    yield "deep info", {**good, "info": "[" * 100_000}, "RecursionError"
    yield "deep model", {**good, "info": json.dumps({**told, "sd_model_name": json.loads(deep)})}, "model = [[["
    yield "deep steps", {**good, "info": json.dumps({**told, "steps": json.loads(deep)})}, "steps = [[["
    yield "no text", {**good, "info": json.dumps({**told, "infotexts": [5]})}, "TypeError"
    yield "no numbers", {**good, "info": json.dumps({**told, "width": "32"})}, "width = '32'"
    yield "a list", [good], "TypeError"
    yield "half a pair", {**good, "info": json.dumps({**told, "sampler_name": "\ud800"})}, "'\\ud800'"
    text = told["infotexts"][0].replace('"2 evals', f'"{"1" * 5000} evals')
    yield "many calls", {**good, "info": json.dumps({**told, "infotexts": [text]})}, "Few-Step cost = '1111"


@pytest.mark.parametrize(("body", "words"), [pytest.param(*odd, id=name) for name, *odd in odd_answers()])
def test_an_odd_answer_is_its_own_cells_error(client, tmp_path, body, words):
    rows, wanted = Rows(tmp_path), tasks(3)
    sent = json.dumps(body).encode()
    with webuis(lambda payload, number: (200, sent) if payload["steps"] == 2 else None) as servers:
        assert swept(client, rows, servers, wanted)[0] == ""
    found = errors(rows, wanted)
    assert words in found.pop(2)
    assert found == {1: "", 3: ""}


def test_an_error_can_be_written(client, tmp_path):
    rows, wanted = Rows(tmp_path), tasks(1)
    with webuis(lambda payload, number: (500, b'{"errors": "\\ud800"}')) as servers:
        swept(client, rows, servers, wanted)
    assert errors(rows, wanted)[1] == "HTTP 500: \\ud800"


def test_the_cost_is_the_infotexts_last():
    (wanted,) = tasks(1)
    body = answer({**wanted.payload, "prompt": 'a cat, Few-Step cost: "9 evals, 9.00 s", {"a": 1}'})
    row, image = row_from(wanted, body, "http://host")
    assert (row.evaluations, row.seconds, row.error, image[:4]) == (1, 0.25, "", b"\x89PNG")


# --- what is on the disk

CELL = Cell("a cat", 7, "None", "Euler", 7.0, 1)
PNG = png({}, (8, 8))


def kept(folder, *keys):
    rows = Rows(folder)
    for key in keys:
        rows.add(Row(key, {}, 1, 0.5, image=f"{key}.png"), PNG)
    return rows


def test_a_torn_line_is_passed_over_and_hurts_no_other(tmp_path):
    kept(tmp_path, "a", "b")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    rows = kept(tmp_path, "c")
    assert [rows.finished(key) for key in "abc"] == [True, False, True]
    rows.add(Row("d", {}, image="d.png"), PNG)
    assert [Rows(tmp_path).finished(key) for key in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize(
    "line",
    [
        *("\0\0\0", "[]", "3", '{"key": "a"}', '{"key": "a", "cell": {}, "more": 1}', "\xff", "[" * 100_000),
        *('{"key": [], "cell": {}}', '{"key": {}, "cell": {}}', '{"key": "a", "cell": []}', '{"key": 5, "cell": {}}'),
        *('{"key": "a", "cell": {}, "image": 5}', '{"key": "a", "cell": {}, "error": 5}'),
        *('{"key": "a", "cell": {}, "details": []}', '{"key": "a", "cell": {}, "evaluations": "8"}'),
        *('{"key": "a", "cell": {}, "evaluations": true}', '{"key": "a", "cell": {}, "seconds": "1"}'),
    ],
)
def test_a_line_that_is_no_row_is_passed_over(tmp_path, line):
    kept(tmp_path, "a")
    with (tmp_path / "rows.jsonl").open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    assert kept(tmp_path, "b").finished("a")
    assert Rows(tmp_path).finished("b")


def test_a_row_without_its_image_is_not_finished(tmp_path):
    kept(tmp_path, "a")
    (tmp_path / "images" / "a.png").unlink()
    assert not Rows(tmp_path).finished("a")
    assert Rows(tmp_path).outcome("a", CELL).error == NOT_RUN


def test_the_last_row_of_a_key_counts(tmp_path):
    rows = kept(tmp_path, "a")
    rows.add(Row("a", {}, error="HTTP 500: no"))
    assert not Rows(tmp_path).finished("a")
    assert Rows(tmp_path).outcome("a", CELL).error == "HTTP 500: no"
    kept(tmp_path, "a")
    assert Rows(tmp_path).outcome("a", CELL).image.size == (8, 8)


def test_an_image_that_cannot_be_read_is_an_error(tmp_path):
    rows = kept(tmp_path, "a")
    (tmp_path / "images" / "a.png").write_bytes(PNG[:-30])
    assert "a.png cannot be read" in rows.outcome("a", CELL).error
    (tmp_path / "images" / "a.png").write_bytes(bomb())
    assert "a.png cannot be read" in rows.outcome("a", CELL).error


def test_a_failed_write_leaves_no_row(tmp_path):
    rows = Rows(tmp_path)
    (tmp_path / "images").rmdir()
    with pytest.raises(OSError, match="images"):
        rows.add(Row("a", {}, image="a.png"), PNG)
    assert not (tmp_path / "rows.jsonl").exists()


# --- whole runs that are killed, and Dask's own cluster


def held(count):
    """Meddling that lets an image through `count` - 1 times, then says so and holds the next until it is let go."""
    reached, go = threading.Semaphore(0), threading.Event()

    def meddle(payload, number):
        if number == count:
            reached.release()
            go.wait(60)
            return 500, b"{}"
        return None

    return meddle, reached, go


def test_a_killed_run_is_continued(tmp_path):
    (first, *firsts), (second, *seconds) = held(3), held(4)
    config = write_config(tmp_path, steps=[1, 2, 3, 4, 5], samplers=["Euler", "Heun"])
    with webuis(first, second) as servers:
        run = subprocess.Popen(command(servers, config, tmp_path / "out"), cwd=ROOT, stderr=subprocess.DEVNULL)
        for reached, _ in (firsts, seconds):
            assert reached.acquire(timeout=60)
        run.kill()
        run.wait()
        before = servers[0].served + servers[1].served
        firsts[1].set()
        seconds[1].set()
        assert len(rows_in(tmp_path / "out")) == sum(before.values()) == 5
        with (tmp_path / "out" / "rows.jsonl").open("a") as file:
            file.write('{"key": "torn')
        for server in servers:
            server.meddle = lambda payload, number: None
        again = finished(command(servers, config, tmp_path / "out"))
        assert again.returncode == 0, again.stderr
        served = servers[0].served + servers[1].served
    assert set(served.values()) == {1}
    assert len(served) == 11
    assert "11 cells: 11 done, 0 failed, 0 left" in again.stdout
    assert "5/11" in again.stderr.replace("\r", "\n")


def finished(words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def dask(tmp_path, *arguments):
    """A process of Dask in a folder from which this package cannot be imported, and a way to its log."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    environment.pop("PYTHONPATH", None)
    words = [sys.executable, "-m", *arguments, "--no-dashboard"]
    return subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)


def follow(process, log):
    """Keep what a process says; returns its thread."""
    thread = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    thread.start()
    return thread


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, a list of workers, a function that adds one, and what all of them have logged."""
    log, processes = [], [dask(tmp_path, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")]
    address = next(line.split()[-1] for line in processes[0].stderr if "Scheduler at:" in line)
    threads = [follow(processes[0], log)]

    def start():
        processes.append(dask(tmp_path, "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "2"))
        threads.append(follow(processes[-1], log))

    start()
    yield address, processes, start, log
    for process in processes:
        process.kill()
        process.wait()
    for thread in threads:
        thread.join()
    assert "secret" not in "".join(log)


def test_a_dask_cluster_without_this_package(tmp_path, cluster):
    """Its only worker is killed on the first image, and another comes."""
    address, processes, start, _ = cluster

    def kills(payload, number):
        if number == 1:
            processes[1].kill()
            start()
            return 500, b"{}"
        return None

    config = write_config(tmp_path, steps=[1, 2, 3])
    with webuis(kills, credentials="me:secret") as servers:
        words = command(servers, config, tmp_path / "out", "--scheduler", address)
        run = finished(words)
        assert run.returncode == 0, run.stderr
        assert len(servers[0].served) == 4
        assert len(servers[0].asked) == 5
    assert "4 cells: 4 done, 0 failed, 0 left" in run.stdout
    assert "secret" not in run.stdout + run.stderr
    with connected(address, 1) as client:
        assert set(client.run(importlib.util.find_spec, "lib_fewstep").values()) == {None}


def test_a_scheduler_that_goes_stops_the_sweep(tmp_path, cluster, monkeypatch):
    address, processes, _, _ = cluster

    def kills(payload, number):
        if number == 2:
            processes[0].kill()
            return 500, b"{}"
        return None

    rows, wanted = Rows(tmp_path / "out"), tasks(4)
    monkeypatch.setattr(dask_client, "_START_SECONDS", 5)
    with webuis(kills) as servers, connected(address, 1) as client:
        assert swept(client, rows, servers, wanted)[0] == "the Dask scheduler is gone"
    assert sorted(errors(rows, wanted).values()) == ["", *[NOT_RUN] * 3]


def test_the_local_cluster_is_open_to_nobody_else(client):
    listening = [place.laddr.ip for place in psutil.Process().net_connections() if place.status == "LISTEN"]
    assert set(listening) <= {"127.0.0.1"}


@pytest.fixture
def collected():
    """Dask's client stops its loop when it is collected: in the start of the next client that would wait for ever."""
    yield
    gc.collect()


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("address", ["nowhere", "", "tcp://127.0.0.1:9", "http://127.0.0.1:9"])
def test_no_scheduler(address, monkeypatch):
    monkeypatch.setattr(dask_client, "_START_SECONDS", 0.5)
    refused = pytest.raises(
        SettingError, match=f"{address!r} is not allowed: it must be the address of a Dask scheduler"
    )
    with refused, connected(address, 1):
        pass


@pytest.mark.usefixtures("collected")
def test_a_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr(dask_client, "_START_SECONDS", 0.5)
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        refused = pytest.raises(SettingError, match=r"--scheduler = 'inproc.* cannot be used: it has no workers")
        with refused, connected(cluster.scheduler_address, 1):
            pass
