"""Whatever is sent, pasted or put into a folder makes an image or one sentence, and nothing else happens."""

from __future__ import annotations

import base64
import csv
import io
import logging
import os
import pickle
import sys
import zlib
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from fastapi import HTTPException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, PngImagePlugin
from safetensors.torch import save_file

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of, page_fields
from lib_fewstep.sampling.settings import FewStepSettings, InvertSettings, PriorSettings
from lib_fewstep.webui.comparison.arguments import FIELDS
from tests.webui import standin
from tests.webui.exact import page_values, settings_of, unchanged
from tests.webui.test_axes import LABELS

TITLE = "Few-step comparison"
BASE = {"prompt": "a cat", "width": 32, "height": 32, "steps": 1, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
IMAGE = {"init_images": [standin.picture(32, 32)], "sampler_name": "Euler CFG++"}
FORGED = "x\n[Few-Step] forged\r\x1b[2J\x1b]0;title\x07\u202e\u2028\x85"
MARKUP = "<img src=x onerror=alert(1)>"
OUTSIDE = [
    "../outside",
    "..",
    ".",
    "/etc/passwd",
    "//x",
    "a/b",
    "a\\b",
    "C:\\x",
    "~/x",
    "a\0b",
    "-",
    "\ud800",
    "..\\..\\x",
]
OUTSIDE += ["/dev/zero", "file:///etc/passwd", "日" * 100, "x" * 300, "x\n", " x", "%2e%2e/x", "outside.txt/../x"]
NASTY = [
    FORGED,
    MARKUP,
    *OUTSIDE,
    "{0.__class__}",
    "%s%n",
    "x" * 100_000,
    "1_0",
    "\u0661",
    "nan",
    "1e999",
    "$\\frac$",
    "None",
]
HUGE = [2**31, 2**63, -1, 10**400, -(10**5000), float("nan"), float("inf"), -0.0, 1e308]
LONG = [
    [0] * 10_000,
    ["x"] * 10_000,
    list(range(10_000)),
    {str(number): number for number in range(1000)},
    [[[[[[]]]]]],
]

TEXTS = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=8)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.sampled_from([*HUGE, *LONG]) | st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4
)
FUZZED = settings(max_examples=8)


def costly(value):
    """Whether a comparison would run for long: of so many steps, or seeds."""
    numbers = value if isinstance(value, list) else [value]
    return any(isinstance(number, int | float) and 2 < number <= 1000 for number in numbers)


QUICK = VALUES.map(lambda value: None if costly(value) else value)
KINDS = [None, True, "", "nan", NASTY[0], -1, 0.5, float("nan"), float("inf"), 10**400, [], [None], {}, {"": 0}]


def fuzzed(values):
    """A test's `value` is one of each kind, and some that nobody has thought of, the same ones for every field."""

    def of(test):
        for value in KINDS:
            test = example(value=value)(test)
        return settings(FUZZED, max_examples=4)(given(value=values)(test))

    return of


class Watch:
    """What the interpreter reports: programs that start, pickles that name something, files that are written."""

    ALWAYS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class")
    WITH_SOURCE = ("os.rename", "os.symlink", "os.link")
    WRITTEN = (*WITH_SOURCE, "os.mkdir", "os.remove", "os.truncate", "shutil.rmtree")

    def __init__(self):
        self.folder, self.seen = None, []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.folder is not None and (event in self.ALWAYS or self.writes_outside(event, args)):
            self.seen.append((event, args))

    def writes_outside(self, event, args):
        """Whether it is written outside of the folder; the tests' own tool keeps notes of its own.

        A descriptor that is opened once more (``os.fdopen``) was opened by its name before, and was seen then.
        """
        if event not in self.WRITTEN and not (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return False
        if isinstance(args[0], int):
            return False
        target = str(args[1] if event in self.WITH_SOURCE else args[0])
        return not target.startswith(str(self.folder)) and "/.hypothesis" not in target

    @contextmanager
    def on(self, folder):
        self.folder, self.seen = folder, []
        try:
            yield
        finally:
            self.folder = None
        assert not self.seen


WATCH = Watch()


@pytest.fixture(scope="module")
def first(sd1):
    return sd1.api.txt2img(BASE).latents


@pytest.fixture
def console():
    """What the extension's log writes, and how many records it got; each must be one printable line."""
    logger, written, records = logging.getLogger("fewstep"), io.StringIO(), []
    handler = next(handler for handler in logger.handlers if handler.name == "fewstep")
    before, count = handler.setStream(written), logging.Handler()
    count.emit = records.append
    logger.addHandler(count)
    yield written.getvalue
    logger.removeHandler(count)
    handler.setStream(before)
    lines = written.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(records)
    assert all(line.isprintable() and line.startswith("[Few-Step] ") for line in lines)


@pytest.fixture
def host(sd1, first, console):
    """A host to which nothing happens, and whose next plain image is the first."""
    with WATCH.on(sd1.data_path), unchanged(sd1):
        yield sd1
    assert not sd1.errors
    assert torch.equal(sd1.api.txt2img(BASE).latents, first)


def answered(result, name=""):
    """An image, or a sentence of one printable line that names the setting."""
    assert result.status in (200, 422), (result.error, result.message)
    if result.status == 422:
        assert result.message.isprintable(), result.message
        assert result.message.endswith((".", "?")), result.message
        assert name in result.message
    return result


def ask(host, script, args, **fields):
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    return tab(BASE | fields | {"alwayson_scripts": {script: {"args": args}}})


class TestFields:
    """Every field, as the API takes it: by name, and by place in the list of the page's values."""

    @pytest.mark.parametrize("name", options_of(HighResSettings))
    @fuzzed(VALUES)
    def test_hidiffusion_by_name(self, host, name, value):
        answered(ask(host, "HiDiffusion", [{"trained_size": 64, name: value}]), name)

    @pytest.mark.parametrize("place", range(len(options_of(HighResSettings))))
    @fuzzed(VALUES)
    def test_hidiffusion_by_place(self, host, place, value):
        names = list(options_of(HighResSettings))
        args = [True, *page_values(HighResSettings)[1:]]
        args[names.index("preset")] = "Manual"
        args[place] = value
        answered(ask(host, "HiDiffusion", args), names[place] if place else "")

    @pytest.mark.parametrize("name", options_of(FewStepSettings))
    @fuzzed(VALUES)
    def test_few_step_by_name(self, host, name, value):
        for fields in ({}, IMAGE):
            answered(ask(host, "Few-Step", [{name: value}], **fields), name)

    @pytest.mark.parametrize("place", range(len(page_fields(FewStepSettings))))
    @fuzzed(VALUES)
    def test_few_step_by_place(self, host, place, value):
        page = dict(zip(page_fields(FewStepSettings), page_values(FewStepSettings), strict=True))
        name = list(page)[place]
        on = {"enabled": True, "invert": name.startswith("invert_")}
        args = [*(page | on | {name: value}).values()]
        answered(ask(host, "Few-Step", args, **(IMAGE if on["invert"] else {})), name.split("_")[0] if place else "")

    NESTED = [*(("prior", name) for name in options_of(PriorSettings))]
    NESTED += [("invert", name) for name in options_of(InvertSettings)]

    @pytest.mark.parametrize(("outer", "name"), NESTED)
    @fuzzed(VALUES)
    def test_what_is_nested(self, host, outer, name, value):
        needed = {"images": [standin.as_base64(standin.picture(16, 16))]} if name == "save" else {}
        fields = IMAGE if outer == "invert" else {}
        answered(ask(host, "Few-Step", [{outer: needed | {name: value}}], **fields), outer)

    SMALL = {"steps": [1], "cfg": [3], "samplers": ["Euler"], "reference_steps": 1}

    @pytest.mark.parametrize("name", FIELDS)
    @fuzzed(QUICK)
    def test_comparison_by_name(self, host, name, value):
        with settings_of(host, fewstep_most_images=2):
            sent = {"script_name": TITLE, "script_args": [self.SMALL | {name: value}]}
            answered(host.api.txt2img(BASE | sent), TITLE)

    @pytest.mark.parametrize("place", range(len(FIELDS)))
    @fuzzed(QUICK)
    def test_comparison_by_place(self, host, place, value):
        values = {**{name: field.shown for name, field in FIELDS.items()}, **self.SMALL}
        args = [*values.values()]
        args[place] = value
        with settings_of(host, fewstep_most_images=2):
            answered(host.api.txt2img(BASE | {"script_name": TITLE, "script_args": args}), TITLE)

    @FUZZED
    @given(args=st.lists(VALUES, max_size=16))
    def test_lists_of_any_length(self, host, args):
        for script in ("HiDiffusion", "Few-Step", "Few-Step record"):
            answered(ask(host, script, args))
        with settings_of(host, fewstep_most_images=2):
            answered(host.api.txt2img(BASE | {"script_name": TITLE, "script_args": args}), TITLE)

    @FUZZED
    @given(names=st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3))
    def test_names_that_are_no_settings(self, host, names):
        for script in ("HiDiffusion", "Few-Step"):
            assert "is not a setting" in answered(ask(host, script, [names])).message

    def test_a_list_that_is_too_deep_to_be_shown(self, host):
        """The JSON reader goes deeper than a representation does from where requests are answered."""
        deep = []
        for _ in range(sys.getrecursionlimit() - 50):
            deep = [deep]
        for script, name in (("HiDiffusion", "t1"), ("Few-Step", "gamma")):
            assert f"{name} = " in answered(ask(host, script, [{name: deep}])).message


@pytest.mark.parametrize("label", [f"[{script}] {name}" for script, names in LABELS.items() for name in names])
@FUZZED
@given(text=st.text("0123456789.,- []()\"'<>&\x1b", max_size=6).filter(lambda text: "-" not in text) | TEXTS)
def test_values_of_axes(host, label, text):
    """The WebUI itself splits the text and reads numbers; what it raises is its own."""
    try:
        host.xyz({label: text}, **BASE)
    except HTTPException as refusal:
        assert refusal.status_code == 422
        assert refusal.detail.isprintable()
        assert refusal.detail.startswith(label)
        assert refusal.detail.endswith((".", "?"))
    except csv.Error as error:
        of_a_nul = ("line contains NUL", "need to escape") if "\0" in text else ()  # Python 3.10's csv knows none
        assert str(error).startswith(("new-line character seen in unquoted field", *of_a_nul))
    except ValueError as error:
        assert type(error) is ValueError
        assert str(error).startswith(("could not convert string to float", "invalid literal for int"))
    refused = [report.exception for report in host.errors]  # an interval that has no step is seen once the pass begins
    host.errors.clear()
    assert all(isinstance(each, HTTPException) and "must be guided" in each.detail for each in refused)


def compare(host, **more):
    return host.api.txt2img(BASE | {"script_name": TITLE, "script_args": [TestFields.SMALL | more]})


class TestLog:
    """The `console` fixture reads what is written: no line is forged, none moves the cursor."""

    ESCAPED = FORGED.encode("unicode_escape").decode()

    def test_the_name_of_a_lora(self, host, console):
        answered(host.api.txt2img(BASE | {"prompt": f"<lora:lcm-lora {FORGED}:1>", "steps": 2}))
        assert f"lcm-lora {self.ESCAPED}" in console()

    def test_prompts_of_an_inversion(self, host, console):
        sent = {"invert": {"prompt": FORGED, "negative_prompt": FORGED, "steps": 1}}
        assert answered(ask(host, "Few-Step", [sent], **IMAGE)).status == 200
        assert console().count(self.ESCAPED) == 2

    def test_what_an_image_says_of_its_prompt(self, host, console):
        picture = standin.picture(32, 32)
        picture.info["parameters"] = f"a {FORGED.replace(chr(10), ' ')}\nSteps: 2"
        answered(ask(host, "Few-Step", [{"invert": True}], **(IMAGE | {"init_images": [picture]})))
        assert "\\x1b[2J" in console()

    def test_the_error_of_a_cell(self, host, console):
        host.fault(block="input_blocks.1", error=RuntimeError(FORGED))
        answered(compare(host))
        assert f"1 failed ({self.ESCAPED})" in console()

    def test_a_prompt_of_a_comparison_whose_cell_fails(self, host, console):
        host.fault(block="input_blocks.1", error=RuntimeError("out of memory"))
        answered(host.api.txt2img(BASE | {"prompt": FORGED, "script_name": TITLE, "script_args": [TestFields.SMALL]}))
        assert self.ESCAPED in console()

    def test_half_a_character(self, host, console):
        answered(host.api.txt2img(BASE | {"prompt": "<lora:lcm-lora \ud800:1>", "steps": 2}))
        assert "lcm-lora \\ud800" in console()


class Tags(HTMLParser):
    """The tags of a text."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


def elem(name, script="sampling"):
    return f"fewstep_{script}_txt2img_{name}"


class TestPage:
    """Both accordions' lines are HTML."""

    def line(self, host, script, **values):
        page = host.tabs["txt2img"]
        for elem_id, value in values.items():
            page.changed[elem_id] = value
        try:
            return str(page.trigger(elem("refresh", script), "click")[elem("line", script)])
        finally:
            page.changed.clear()

    @pytest.mark.parametrize("text", [MARKUP, "<script>alert(1)</script>", "&lt;img src=x&gt;", "<br><b>"])
    def test_few_steps_line(self, host, text):
        room = sys.modules["lib_fewstep.webui.fewstep.accordion"]
        said = room._line("None", f"<lora:lcm {text}:1>")[0]
        assert "fits, because" in said
        assert not Tags(said).found

    def test_few_steps_line_of_a_checkpoint(self, host, monkeypatch):
        room = sys.modules["lib_fewstep.webui.fewstep.accordion"]
        monkeypatch.setattr(sys.modules["lib_fewstep.webui.common.host.model"], "checkpoint_name", lambda: MARKUP)
        said = room._line("None", "a cat")[0]
        assert "needs no preset" in said
        assert not Tags(said).found

    @pytest.mark.parametrize("text", [MARKUP, "1 <b>", FORGED])
    def test_hidiffusions_line(self, host, text):
        room = sys.modules["lib_fewstep.webui.highres.accordion"]
        held = dict.fromkeys(["width", "height", "steps", "denoising_strength"], 64) | {"hr-checkbox": False}
        own = dict(zip(options_of(HighResSettings), page_values(HighResSettings), strict=True))
        said = room._line("txt2img", own | held | {"few_step": True, "timesteps": text})
        assert "timesteps = " in said
        assert not Tags(said).found

    def test_nothing_else_on_the_page_is_html(self, host):
        for tab in host.tabs.values():
            ours = [c for c in tab.components_by_elem_id.values() if str(c.elem_id).startswith("fewstep_")]
            assert {c.elem_id.rpartition("_")[2] for c in ours if c.get_block_name() in ("html", "markdown")} == {
                "line"
            }


@pytest.fixture
def folder(sd1):
    """The folder of priors, with a file of statistics outside of it; empty again afterwards."""
    place, good = sd1.data_path / "models" / "FewStep", {"mean": torch.zeros(4), "std": torch.ones(4)}
    (place / "prompts").mkdir(parents=True, exist_ok=True)
    save_file(good, place.parent / "outside.safetensors")
    (place.parent / "outside.txt").write_text("a secret")
    yield place
    for path in [*place.rglob("*"), *place.parent.glob("outside*")]:
        if path.is_symlink() or not path.is_dir():
            path.unlink()


class Planted:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def fifo(path, outside):
    os.mkfifo(path)


def huge(path, outside):
    with path.open("wb") as file:
        file.truncate(2**40)


STRANGE = {
    "a link": lambda path, outside: path.symlink_to(outside),
    "a link to a device": lambda path, outside: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path, outside: path.symlink_to(path.parent / "nothing"),
    "a link to itself": lambda path, outside: path.symlink_to(path),
    "a link to a link's folder": lambda path, outside: path.symlink_to(outside.parent),
    "a pipe": fifo,
    "huge": huge,
    "a pickle": lambda path, outside: path.write_bytes(pickle.dumps(Planted())),
    "torch's own": lambda path, outside: torch.save({"mean": Planted(), "std": torch.ones(4)}, path),
    "markup": lambda path, outside: path.write_text(f"{MARKUP}\x1b[2J,\n"),
    "empty": lambda path, outside: path.write_bytes(b""),
    "zeros": lambda path, outside: path.write_bytes(bytes(1000)),
}
NO_STRANGER = {".txt": {"markup", "zeros", "a pickle", "torch's own"}}
"""Texts with control characters are prompts all the same."""


class TestFiles:
    @pytest.mark.parametrize("kind", STRANGE)
    def test_statistics(self, host, folder, kind):
        STRANGE[kind](folder / "x.safetensors", folder.parent / "outside.safetensors")
        for name in ("x", "x.safetensors"):
            result = answered(ask(host, "Few-Step", [{"prior": {"statistics": name}}]), "prior = x.safetensors")
            assert result.status == 422
        with pytest.raises(HTTPException, match=r"prior = x\.safetensors"):
            host.xyz({"[Few-Step] Prior": "x"}, **BASE)

    @pytest.mark.parametrize("kind", [kind for kind in STRANGE if "link" in kind or kind == "a pipe"])
    def test_statistics_are_not_saved_over_it(self, host, folder, kind):
        path, outside = folder / "x.safetensors", folder.parent / "outside.safetensors"
        STRANGE[kind](path, outside)
        before = outside.read_bytes()
        sent = {"prior": {"images": [standin.as_base64(standin.picture(16, 16))], "save": "x"}}
        assert answered(ask(host, "Few-Step", [sent]), "prior").status == 422
        assert outside.read_bytes() == before
        assert path.is_symlink() or path.is_fifo()
        assert sorted(folder.iterdir()) == [folder / "prompts", path]

    @pytest.mark.parametrize("ending", [".txt", ".tsv", ".csv", ".parquet"])
    @pytest.mark.parametrize("kind", STRANGE)
    def test_prompt_sets(self, host, folder, kind, ending):
        STRANGE[kind](folder / "prompts" / f"x{ending}", folder.parent / "outside.txt")
        result = answered(compare(host, prompts=f"x{ending}"), TITLE)
        assert "secret" not in result.message
        if kind not in NO_STRANGER.get(ending, set()):
            assert result.status == 422
            assert f"x{ending}" in result.message
            assert str(folder) not in result.message
            with pytest.raises(HTTPException, match=r"\[Few-Step\] Prompts"):
                host.xyz({"[Few-Step] Prompts": f"x{ending}"}, **BASE)

    @pytest.mark.parametrize("name", OUTSIDE)
    def test_names_that_lead_out(self, host, folder, name):
        before = sorted(host.data_path.rglob("*"))
        images = [standin.as_base64(standin.picture(16, 16))]
        for prior in ({"statistics": name}, {"images": images, "save": name}):
            assert answered(ask(host, "Few-Step", [{"prior": prior}]), "prior").status == 422
        for ending in ("", ".txt"):
            assert answered(compare(host, prompts=f"{name}{ending}"), "prompts").status == 422
        assert sorted(host.data_path.rglob("*")) == before

    def test_the_page_offers_only_what_may_be_asked_for(self, host, folder):
        """A name that is no UTF-8 would keep the whole page from being sent."""
        save_file({"mean": torch.zeros(4)}, folder / "good.safetensors")
        (folder / "prompts" / "good.txt").write_text("a cat")
        for place, ending, outside in (
            (folder, "safetensors", "outside.safetensors"),
            (folder / "prompts", "txt", "x"),
        ):
            for name in (b"\xff", MARKUP.replace("/", "").encode(), b"a\nb"):
                Path(os.fsdecode(bytes(place) + b"/" + name + b"." + ending.encode())).write_bytes(b"")
            (place / f"link.{ending}").symlink_to(folder.parent / outside)
        assert sys.modules["lib_fewstep.webui.fewstep.prior_files"].saved_priors() == ["good.safetensors"]
        assert sys.modules["lib_fewstep.webui.common.prompt_files"].saved_prompts() == ["good.txt"]


@pytest.mark.parametrize("where", ["/tmp/elsewhere", "../elsewhere", "~", "\0", "x" * 300, None, 3, ["a"]])
def test_a_request_does_not_choose_the_folder_of_the_record(host, where):
    before = {path for path in host.data_path.rglob("*") if "outputs" not in path.parts}
    sent = {"fewstep_record": True, "fewstep_record_folder": where}
    assert answered(host.api.txt2img(BASE | {"override_settings": sent})).status == 200
    assert (host.data_path / "outputs" / "fewstep-record.csv").is_file()
    assert {path for path in host.data_path.rglob("*") if "outputs" not in path.parts} == before


def files(host):
    return {path for path in host.data_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("prompt", ["../../../outside", "/etc/x", FORGED, MARKUP, "\ud800", "x" * 300])
def test_a_comparison_is_saved_in_its_folder(host, prompt):
    options, before = {"samples_filename_pattern": "[prompt]", "grid_extended_filename": True}, files(host)
    with settings_of(host, **options):
        sent = {"script_name": TITLE, "script_args": [TestFields.SMALL], "save_images": True}
        answered(host.api.txt2img(BASE | sent | {"prompt": prompt}))
    outside = [path for path in files(host) - before if "txt2img-" not in str(path)]
    assert {path.suffix for path in outside} <= {".csv", ".json", ".txt"}
    assert {path.name for path in outside} <= {"fewstep-record.csv", "config.json", "params.txt"}


class TestPictures:
    """Reference images, as they come over the API."""

    @staticmethod
    def encoded(kind, size=(16, 16)):
        file = io.BytesIO()
        standin.picture(*size).save(file, kind)
        return file.getvalue()

    @staticmethod
    def sent(host, content):
        images = [base64.b64encode(content).decode()]
        return answered(ask(host, "Few-Step", [{"prior": {"images": images}}]), "prior.images")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    @FUZZED
    @given(draw=st.data())
    def test_damaged(self, host, kind, draw):
        content = bytearray(self.encoded(kind))
        for _ in range(draw.draw(st.integers(1, 4))):
            content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
        self.sent(host, bytes(content)[: draw.draw(st.integers(0, len(content)))])

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_whole(self, host, kind):
        assert self.sent(host, self.encoded(kind)).status == 200

    def test_no_program_is_asked(self, host, monkeypatch):
        asked = []
        monkeypatch.setattr(
            EpsImagePlugin, "Ghostscript", lambda *args: asked.append(args) or Image.new("RGB", (16, 16))
        )
        assert self.sent(host, self.encoded("EPS")).status == 422
        assert not asked

    @pytest.mark.parametrize(("size", "status"), [((8, 8), 200), ((7, 64), 422), ((8, 4096), 200), ((8, 4097), 422)])
    def test_sizes(self, host, size, status):
        file = io.BytesIO()
        Image.new("1", size).save(file, "PNG")
        assert self.sent(host, file.getvalue()).status == status

    def test_a_picture_of_gigabytes_is_not_unpacked(self, host, monkeypatch):
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda _: pytest.fail("it is unpacked"))
        file = self.encoded("PNG")
        size = (50_000).to_bytes(4, "big")
        head = file[12:16] + size + size + file[24:29]
        large = file[:12] + head + zlib.crc32(head).to_bytes(4, "big") + file[33:]
        assert self.sent(host, large).status == 422
