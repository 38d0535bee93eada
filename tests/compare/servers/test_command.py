"""The command line of a comparison over servers, from its file to its table and pictures."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import yaml
from PIL import Image

from lib_fewstep.compare import __main__ as main_module
from lib_fewstep.compare.servers.plan import read_plan, tasks
from lib_fewstep.compare.servers.survey import Survey
from lib_fewstep.options import SettingError
from tests.compare.servers.fake_webui import SAMPLERS, FakeWebUI, webuis
from tests.compare.servers.runs import CONFIG, ROOT, arguments, command, rows_in, with_request, write_config

FOUND = Survey({name: name for name in SAMPLERS} | {"k_euler": "Euler"}, "small.safetensors")


@pytest.fixture
def compare(monkeypatch, capsys):
    """Run the command in this process: its status, what it printed and what it said on the error stream."""

    def run(servers, config, out, *more):
        monkeypatch.setattr(sys, "argv", ["compare", *arguments(servers, config, out, *more)])
        status = main_module.main()
        return status, *capsys.readouterr()

    return run


def table(out):
    with (out / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_comparison(tmp_path, compare):
    out = tmp_path / "out"
    config = write_config(tmp_path, samplers=["Euler", "k_heun"], methods=["None", "HiDiffusion"], seeds=2)
    with webuis(None, None) as servers:
        status, said, _ = compare(servers, config, out)
        made = [sum(server.served.values()) for server in servers]
    assert status == 0
    assert sum(made) == 2 * (1 + 2 * 2 * 2)
    assert "18 cells: 18 done, 0 failed, 0 left" in said
    for server, images in zip(servers, made, strict=True):
        assert f"{server.address}: {images} images" in said
    rows = table(out)
    assert len(rows) == 18
    assert {row["model"] for row in rows} == {"small"}
    assert all(row["error"] == "" and row["evaluations"] == row["steps"] for row in rows)
    assert all(row["psnr"] for row in rows if row["reference"] == "False")
    for name in ("curves.png", "grid.png"):
        with Image.open(out / name) as image:
            image.load()
        assert str(out / name) in said
    assert not list(out.rglob("*.tmp"))


def test_credentials_are_nowhere(tmp_path, compare):
    out, config = tmp_path / "out", write_config(tmp_path)
    with webuis(lambda payload, number: FakeWebUI.DIE if number == 2 else None, credentials="me:secret") as servers:
        status, *said = compare(servers, config, out)
    assert status == 1
    assert "secret" not in "".join(said)
    assert not [path for path in out.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_credentials_in_a_wrong_command_line_are_not_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare", "http://me:secret@host", "--server", "http://host", "--config", "c"])
    with pytest.raises(SystemExit) as end:
        main_module.main()
    said = capsys.readouterr().err
    assert (end.value.code, "http://host" in said, "secret" in said) == (2, True, False)


def test_all_dead_says_how_to_go_on_and_shows_what_there_is(tmp_path, compare):
    out, config = tmp_path / "out", write_config(tmp_path)
    with webuis(lambda payload, number: FakeWebUI.DIE if number == 2 else None) as servers:
        status, _, errors = compare(servers, config, out)
        assert status == 1
        assert f"{servers[0].address} is no longer used: ConnectionError." in errors
    sentence = "no server answers any longer (3 cells: 1 done, 0 failed, 2 left): run the same command to continue."
    assert errors.splitlines()[-1] == f"Stopped, because {sentence}"
    assert [row["error"] for row in table(out)] == ["", "not run", "not run"]
    assert (out / "grid.png").is_file()
    with webuis(None) as servers:
        assert compare(servers, config, out)[0] == 0
        assert len(servers[0].asked) == 2


def test_nothing_came(tmp_path, compare):
    with webuis(lambda payload, number: (500, b'{"errors": "CUDA out of memory"}')) as servers:
        status, said, _ = compare(servers, write_config(tmp_path), tmp_path / "out")
    assert (status, "3 cells: 0 done, 3 failed, 0 left" in said) == (0, True)
    assert {row["error"] for row in table(tmp_path / "out")} == {"HTTP 500: CUDA out of memory"}


def test_ctrl_c_ends_at_once_and_keeps_what_there_is(tmp_path):
    reached = threading.Event()

    def meddle(payload, number):
        if number == 2:
            reached.set()
            return FakeWebUI.HANG
        return None

    out, config = tmp_path / "out", write_config(tmp_path)
    with webuis(meddle) as servers:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
        run = subprocess.Popen(
            command(servers, config, out),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        assert reached.wait(60)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    sentence = "Ctrl-C was pressed (3 cells: 1 done, 0 failed, 2 left): run the same command to continue."
    assert errors.splitlines()[-1] == f"Stopped, because {sentence}"
    assert "Traceback" not in errors
    assert len(rows_in(out)) == 1
    assert [row["error"] for row in table(out)] == ["", "not run", "not run"]


def test_a_prompt_set(tmp_path, compare):
    (tmp_path / "set.tsv").write_text("Prompt\tCategory\tChallenge\na dog\tAnimals\tBasic\na hat\tArtifacts\tBasic\n")
    config = write_config(tmp_path, prompts="set.tsv", steps=[1], **with_request(prompt=None))
    with webuis(None) as servers:
        status, *_ = compare(servers, config, tmp_path / "out")
    assert status == 0
    assert [(row["prompt"], row["category"]) for row in table(tmp_path / "out")] == [
        *[("a dog", "Animals")] * 2,
        *[("a hat", "Artifacts")] * 2,
    ]


def test_the_same_folder_serves_another_comparison(tmp_path, compare):
    out = tmp_path / "out"
    with webuis(None) as servers:
        compare(servers, write_config(tmp_path), out)
        compare(servers, write_config(tmp_path, steps=[2, 3]), out)
        assert [payload["steps"] for payload in servers[0].asked] == [9, 1, 2, 3]
    assert [row["steps"] for row in table(out)] == ["9", "2", "3"]


def test_the_folder_cannot_be_used(tmp_path, compare):
    (tmp_path / "out").write_text("")
    with webuis(None) as servers:
        status, _, errors = compare(servers, write_config(tmp_path), tmp_path / "out")
    assert (status, errors) == (1, f"Stopped, because {tmp_path / 'out' / 'images'} cannot be used: Not a directory.\n")


HOLD = """
import pathlib, sys
from lib_fewstep.compare.servers.finished_rows import Rows
rows = Rows(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
input()
"""


def test_a_second_run_in_the_folder_of_another_is_refused(tmp_path, compare):
    out, config = tmp_path / "out", write_config(tmp_path)
    words = [sys.executable, "-c", HOLD, str(out)]
    with (
        webuis(None) as servers,
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout.readline() == "ready\n"
        status, _, errors = compare(servers, config, out)
        assert not servers[0].asked
        other.kill()
        other.wait()
        assert compare(servers, config, out)[0] == 0
    said = f"--out = {str(out)!r} cannot be used: another comparison (process {other.pid}) is running there; "
    assert (status, errors) == (2, said + "wait until it ends, or choose another folder.\n")
    assert (out / "lock").read_text() == f"{os.getpid()}\n"


def test_bad_input_ends_before_the_first_image(tmp_path, compare):
    with webuis(None) as servers:
        status, _, errors = compare(servers, write_config(tmp_path, samplers=["Oiler"]), tmp_path / "out")
        assert not servers[0].asked
    known = "DPM++ 2M, Euler, Heun"
    assert (status, errors) == (2, f"The sampler 'Oiler' is not allowed: {servers[0].address} has {known}.\n")


def test_a_method_that_no_server_has_is_refused_before_the_first_image(tmp_path, compare):
    with webuis(None) as servers:
        status, _, errors = compare(servers, write_config(tmp_path, methods=["None", "Kohya"]), tmp_path / "out")
        assert servers[0].asked == []
    known = "HiDiffusion, Deep Shrink"
    assert (status, errors) == (2, f"The method 'Kohya' is not allowed: {servers[0].address} has {known}.\n")
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_named(tmp_path, compare, monkeypatch):
    monkeypatch.delitem(sys.modules, "lib_fewstep.compare.servers.command", raising=False)
    monkeypatch.delattr("lib_fewstep.compare.servers.command", raising=False)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with webuis(None) as servers:
        status, _, errors = compare(servers, write_config(tmp_path), tmp_path / "out")
    assert (status, errors) == (2, "tqdm is missing: pip install -r requirements-cluster.txt\n")


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan", "long"])
def test_a_timeout_is_a_number_above_0(tmp_path, compare, capsys, seconds):
    with pytest.raises(SystemExit) as end:
        compare([], write_config(tmp_path), tmp_path, "--server", "http://host", "--timeout", seconds)
    assert end.value.code == 2
    assert f"'{seconds}' is not allowed: it must be a number above 0" in capsys.readouterr().err


# --- what a file asks for


def planned(folder, **changes):
    return tasks(read_plan(write_config(folder, **changes)), FOUND)


def test_a_request_has_the_cells_values(tmp_path):
    given = {"override_settings": {"CLIP_stop_at_last_layers": 2}, "scheduler": "Karras", "negative_prompt": "blurry"}
    _, first, _ = planned(tmp_path, samplers=["k_euler"], cfg=[5], **with_request(**given))
    assert first.payload == {
        "prompt": "a cat",
        "negative_prompt": "blurry",
        "seed": 7,
        "width": 32,
        "height": 32,
        "steps": 1,
        "cfg_scale": 5.0,
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "batch_size": 1,
        "n_iter": 1,
        "override_settings": {"CLIP_stop_at_last_layers": 2, "fewstep_record": True},
        "override_settings_restore_afterwards": True,
        "alwayson_scripts": {"HiDiffusion": {"args": [{"enabled": False}]}},
    }


def test_methods_keep_the_requests_own_settings(tmp_path):
    own = {"hidiffusion": {"args": [{"t1": 0.3, "enabled": False}]}, "Few-Step": {"args": [{"gamma": 0.2}]}}
    methods = ["As set", "None", "Deep Shrink"]
    wanted = planned(tmp_path, steps=[1], methods=methods, **with_request(alwayson_scripts=own))
    few_step = own["Few-Step"]
    assert [task.payload["alwayson_scripts"] for task in wanted[1:]] == [
        own,
        {"Few-Step": few_step, "HiDiffusion": {"args": [{"enabled": False}]}},
        {"Few-Step": few_step, "HiDiffusion": {"args": [{"t1": 0.3, "enabled": True, "method": "Deep Shrink"}]}},
    ]


@pytest.mark.parametrize("script", [[], {}, {"args": []}, None])
def test_no_settings_give_way(tmp_path, script):
    scripts = {"alwayson_scripts": {"HiDiffusion": script}}
    task = planned(tmp_path, methods=["HiDiffusion"], **with_request(**scripts))[0]
    assert task.payload["alwayson_scripts"]["HiDiffusion"] == {"args": [{"enabled": True, "method": "HiDiffusion"}]}


@pytest.mark.parametrize("script", [{"args": [True, "Deep Shrink"]}, {"args": {"t1": 0.3}}, [{"t1": 0.3}]])
def test_settings_that_are_no_dict_are_refused_where_a_method_would_lose_them(tmp_path, script):
    own = with_request(alwayson_scripts={"hidiffusion": script})
    sentence = r"request.alwayson_scripts.HiDiffusion = .* is not allowed beside methods: .*with a dict of settings\."
    with pytest.raises(SettingError, match=sentence):
        read_plan(write_config(tmp_path, methods=["As set", "Deep Shrink"], **own))
    first = planned(tmp_path, methods=["As set", "None"], **own)[0]
    assert first.payload["alwayson_scripts"] == {"hidiffusion": script}


@pytest.mark.parametrize(
    ("given", "keep"),
    [
        ({}, ["sampler", "steps", "cfg"]),
        ({"keep": ["schedule", "cfg"]}, ["schedule", "cfg", "sampler", "steps"]),
        ({"keep": 5}, 5),
    ],
)
def test_a_preset_leaves_alone_what_is_compared(tmp_path, given, keep):
    preset = {"preset": "LCM", **given}
    own = {"few-step": {"args": [preset]}}
    wanted = planned(tmp_path, methods=["As set", "HiDiffusion"], **with_request(alwayson_scripts=own))
    for task in wanted:
        assert task.payload["alwayson_scripts"]["few-step"] == {"args": [{**preset, "keep": keep}]}
    assert "keep" not in preset or preset == {"preset": "LCM", **given}


@pytest.mark.parametrize("script", [{"args": [{"gamma": 0.2}]}, {"args": [True, "LCM"]}, {"args": []}, [], None])
def test_without_a_presets_dict_nothing_is_kept(tmp_path, script):
    wanted = planned(tmp_path, methods=["As set"], **with_request(alwayson_scripts={"Few-Step": script}))
    assert wanted[0].payload["alwayson_scripts"] == {"Few-Step": script}


def test_equal_images_are_made_once(tmp_path):
    wanted = planned(tmp_path, samplers=["DPM++ 2M"], steps=[1, 9])
    assert [[cell.reference for cell in task.cells] for task in wanted] == [[True, False], [False]]


def test_a_key_stands_for_what_decides_the_image(tmp_path):
    plan = read_plan(write_config(tmp_path))
    keys = [task.key for task in tasks(plan, FOUND)]
    assert keys == [task.key for task in tasks(read_plan(write_config(tmp_path, cfg=[7])), FOUND)]
    assert keys == [task.key for task in planned(tmp_path, samplers=["k_euler"])]
    assert not set(keys) & {task.key for task in tasks(plan, Survey(FOUND.samplers, "large"))}
    assert not set(keys) & {task.key for task in planned(tmp_path, **with_request(width=64))}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"step": [1]}, "'step' is not a setting; allowed are steps, .*, request. Did you mean steps?"),
        ({"steps": []}, r"steps = \(\) is not allowed"),
        ({"methods": [3]}, "methods = 3 is not allowed: it must be As set, None, or "),
        ({"strips": True}, "strips = True is not allowed here: a server does not send the predicted images"),
        ({"request": 3}, "request = 3 is not allowed: it must be names and values"),
        (with_request(seed=None), "request.seed = None is not allowed: it must be 0 to 4294967295"),
        (with_request(seed=-1), "request.seed = -1 is not allowed"),
        (with_request(seed=True), "request.seed = True is not allowed"),
        (with_request(prompt=None), "request.prompt = None is not allowed: it must be a text"),
        (with_request(steps=3), "request.steps = 3 is not allowed: the comparison itself sets steps, cfg_scale"),
        (with_request(sampler_name="Euler"), "request.sampler_name = 'Euler' is not allowed"),
        (with_request(hegiht=3), "'hegiht' is not a field of a request here; .* Did you mean height?"),
        (with_request(alwayson_scripts=[]), r"request.alwayson_scripts = \[\] is not allowed"),
        ({"request": {"seed": 1, "prompt": "a", 3: 4}}, "request = .* must be names and values"),
        (with_request(eta=float("nan")), "request = .* must be JSON"),
        ({"prompts": "none.txt"}, "none.txt"),
        ({"prompts": "comparison.yaml"}, "comparison.yaml is not allowed: the name of a prompt set must end in"),
    ],
)
def test_what_is_not_allowed_in_a_file(tmp_path, changes, sentence):
    with pytest.raises(SettingError, match=sentence):
        read_plan(write_config(tmp_path, **changes))


LONE = "a \ud800 cat"
REFUSED_LONE = r"is not allowed: a text must be UTF-8\.$"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (with_request(prompt=LONE), r"request\.prompt = 'a \\ud800 cat'"),
        (with_request(styles=["plain", LONE]), r"request\.styles = 'a \\ud800 cat'"),
        (with_request(override_settings={LONE: 1}), r"request\.override_settings = 'a \\ud800 cat'"),
        ({"reference_sampler": LONE}, r"reference_sampler = 'a \\ud800 cat'"),
        ({LONE: 1}, r"The name 'a \\ud800 cat'"),
    ],
)
def test_texts_that_cannot_be_sent_are_refused(tmp_path, changes, where):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({**CONFIG, **changes}))
    with pytest.raises(SettingError, match=where + " " + REFUSED_LONE) as refusal:
        read_plan(path)
    str(refusal.value).encode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "file.yaml' is not allowed: it is nested too deeply."),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "file.yaml' is not allowed: it is nested too deeply."),
        (
            "request: {prompt: " + "[" * 100 + "]" * 100 + "}",
            "request.prompt is not allowed: it is nested more than 50",
        ),
        ("steps: &a [*a]", "steps is not allowed: it is nested more than 50 levels deep."),
    ],
)
def test_absurd_nesting_is_refused(tmp_path, text, words):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(SettingError) as refusal:
        read_plan(path)
    assert words in str(refusal.value)


def test_a_prompt_set_needs_its_column(tmp_path):
    (tmp_path / "set.tsv").write_text("Words\tCategory\na dog\tAnimals\n")
    with pytest.raises(SettingError, match="has no column prompt or p"):
        read_plan(write_config(tmp_path, prompts="set.tsv"))


@pytest.mark.parametrize("text", ["steps: [1", "\xff\xfe", "\0"])
def test_a_file_that_is_no_yaml(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingError, match="is not YAML or JSON") as refusal:
        read_plan(path)
    assert "\n" not in str(refusal.value)


def test_no_file_and_no_settings(tmp_path):
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(SettingError, match=r"empty\.yaml = None is not allowed: it must be names and values"):
        read_plan(tmp_path / "empty.yaml")


def test_json_is_yaml(tmp_path):
    path = write_config(tmp_path)
    path.write_text(json.dumps(yaml.safe_load(path.read_text()), indent=1))
    assert len(read_plan(path).cells) == 3
