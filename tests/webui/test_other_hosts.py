"""Hosts that are not the WebUI 1.10: one sentence, and nothing else. Only one module asks what the host is."""

from __future__ import annotations

import ast
import logging
import sys
from types import ModuleType

import pytest
import torch

from tests.webui import standin
from tests.webui.exact import SCRIPTS
from tests.webui.standin import scripts, xyz

ROOM = SCRIPTS.parent / "lib_fewstep" / "webui"
BASE = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
HOOK = "process_before_every_sampling"
SAID = "HiDiffusion and Few-Step do nothing here: they need the AUTOMATIC1111 WebUI 1.10, and this is {}."

HOSTS = {
    "1.6": (["infotext_utils", "sd_schedulers"], [], True, "an older version or another program"),
    "1.9": ([], [], True, "an older version"),
    "Forge": ([], ["modules_forge", "modules_forge.forge_version"], False, "Forge or a fork of it"),
    "reForge": ([], ["modules_forge", "modules_forge.forge_version", "ldm_patched"], False, "Forge or a fork of it"),
    "SD.Next": (["infotext_utils", "sd_schedulers"], ["modules.processing_diffusers"], True, "SD.Next"),
}
"""What each lacks of `modules`, what it has besides, whether it lacks the hook before each pass, what it is called."""


def load_on(kind, monkeypatch):
    """Let the stand-in be another host for as long as an extension's scripts are loaded."""
    missing, more, lacks_hook, _ = HOSTS[kind]
    load_scripts = scripts.load_scripts

    def altered(folder):
        with monkeypatch.context() as patch:
            for name in missing:
                patch.delitem(sys.modules, f"modules.{name}")
                patch.delitem(vars(sys.modules["modules"]), name)
            for name in more:
                patch.setitem(sys.modules, name, ModuleType(name))
            if lacks_hook:
                patch.delattr(scripts.Script, HOOK)
            load_scripts(folder)

    monkeypatch.setattr(scripts, "load_scripts", altered)


def state(host):
    """Whatever an extension may add to a host, and the image that it makes."""
    samplers = sys.modules["modules.sd_samplers"]
    result = host.api.txt2img(BASE)
    assert result.status == 200, result.message
    return {
        "callbacks": {kind: len(entries) for kind, entries in host.callbacks.kinds.items()},
        "samplers": host.api.samplers(),
        "names": sorted(samplers.all_samplers_map),
        "schedulers": host.api.schedulers(),
        "settings": sorted(host.shared.opts.data_labels),
        "components": {name: sorted(tab.labels) for name, tab in host.tabs.items()},
        "arguments": {name: tab.arguments() for name, tab in host.tabs.items()},
        "axes": [axis.label for axis in xyz._offered(is_img2img=False)],
        "scripts": [data.path for data in sys.modules["modules.scripts"].scripts_data],
        "latents": result.latents.tolist(),
        "infotexts": result.infotexts,
        "errors": list(map(str, host.errors)),
    }


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    with standin.webui("sd1", tmp_path_factory.mktemp("none")) as host:
        return state(host)


@pytest.mark.parametrize("kind", HOSTS)
def test_one_sentence_and_no_effect(kind, untouched, log, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fewstep"), "propagate", False)
    load_on(kind, monkeypatch)
    with standin.webui("sd1", SCRIPTS) as host:
        assert state(host) == untouched
        assert log() == [SAID.format(HOSTS[kind][-1])]
        assert host.api.txt2img(BASE | {"alwayson_scripts": {"HiDiffusion": {"args": [{}]}}}).status == 422
        imported = {name for name in sys.modules if name.startswith("lib_fewstep.webui.")}
        common = ("common", "common.host", "common.host.support", "common.log")
        assert imported == {f"lib_fewstep.webui.{name}" for name in common}
        host.reload_ui()
        assert state(host) == untouched
        assert len(log()) == 1, "a reload says it again"


def test_the_webui_1_10_is_not_taken_for_another(untouched, log):
    with standin.webui("sd1", SCRIPTS) as host:
        found = state(host)
        assert log() == []
    assert torch.equal(torch.tensor(found["latents"]), torch.tensor(untouched["latents"]))
    assert not found["errors"]
    assert len(found["scripts"]) == len(untouched["scripts"]) + 6


def test_what_forge_has_left_in_the_folder_is_no_forge(tmp_path, monkeypatch):
    """Git leaves a folder where only compiled files are left, which Python takes for a package."""
    (tmp_path / "modules_forge" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    with standin.webui("sd1", SCRIPTS):
        assert sys.modules["lib_fewstep.webui.common.host.support"].supported()


@pytest.mark.parametrize("name", ["infotext_utils", "ui_components", "sd_samplers_kdiffusion"])
def test_a_host_that_lacks_a_module_is_not_supported(name, monkeypatch):
    with standin.webui("sd1", SCRIPTS):
        host = sys.modules["lib_fewstep.webui.common.host.support"]
        assert host._other_host() is None
        monkeypatch.delitem(sys.modules, f"modules.{name}")
        assert host._other_host() == "an older version or another program"


def probes(tree):
    """Where code asks whether something is there, or what there is: the ways in which a host can be probed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asked = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) > 2)
            if asked or node.func.id == "__import__":
                yield node.lineno, node.func.id
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "")]
            yield from (
                (node.lineno, name) for name in names if name in ("importlib", "importlib.util", "launch_utils")
            )
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asked = f"{node.value.id}.{node.attr}"
            if asked in ("sys.modules", "launch_utils.git_tag") or node.attr == "__version__":
                yield node.lineno, asked
        if isinstance(node, ast.Try):
            inside = [n for part in node.body for n in ast.walk(part) if isinstance(n, ast.Import | ast.ImportFrom)]
            yield from ((part.lineno, "import in try") for part in inside)


def test_only_the_folder_host_probes_the_host():
    probing = {path for path in ROOM.rglob("*.py") if list(probes(ast.parse(path.read_text(encoding="utf-8"))))}
    assert probing
    assert {path.parent for path in probing} == {ROOM / "common/host"}


def test_every_module_of_the_room_that_imports_the_host_s_waits_for_the_answer():
    """The scripts import nothing before they have asked; a new one must ask, too."""
    for path in sorted(SCRIPTS.glob("*.py")):
        _, first, asked = ast.parse(path.read_text(encoding="utf-8")).body
        assert ast.unparse(first) == "from lib_fewstep.webui.common import host"
        assert ast.unparse(asked).startswith("if host.supported():\n"), path
