"""What the installation puts into a WebUI's folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from transformers import CLIPTextConfig, CLIPTokenizer

from demo import install
from demo.model import layouts
from demo.model.layouts import LAYOUTS, LORAS, Layout


@pytest.fixture
def webui(tmp_path):
    folder = tmp_path / "webui"
    folder.mkdir()
    (folder / "launch.py").touch()
    return folder


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """Files in the places of the weights, beside the real YAML files."""
    monkeypatch.setattr(
        layouts,
        "FOLDER",
        shutil.copytree(layouts.FOLDER, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("*.safetensors")),
    )
    for layout in LAYOUTS.values():
        for path in (layout.path, *(layout.lora_path(kind) for kind in LORAS)):
            path.write_bytes(path.name.encode())


def test_everything_is_where_the_webui_looks(webui):
    install.install(webui)
    models, loras = (webui / "models" / kind / "fewstep-mini" for kind in ("Stable-diffusion", "Lora"))
    for layout in LAYOUTS.values():
        assert (models / layout.path.name).read_bytes() == layout.path.read_bytes()
        told = yaml.safe_load((models / layout.config_path.name).read_text(encoding="utf-8"))["model"]["params"]
        text = told.get("cond_stage_config") or told["conditioner_config"]["params"]["emb_models"][0]
        folder = text["params"]["version"]
        assert folder == str(models / "clip")
        assert CLIPTokenizer.from_pretrained(folder)("a red house")["input_ids"][0] == 49406
        assert CLIPTextConfig.from_pretrained(folder).num_hidden_layers == 2
        assert {path.name for path in loras.glob(f"mini-{layout.name}-*")} == {
            f"mini-{layout.name}-{kind}.safetensors" for kind in ("lcm", "tcd")
        }


def test_installing_again_changes_nothing(webui):
    first = install.install(webui)
    kept = {path: path.read_bytes() for path in webui.rglob("*") if path.is_file()}
    assert install.install(webui) == first
    assert {path: path.read_bytes() for path in webui.rglob("*") if path.is_file()} == kept


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"launch\.py"):
        install.install(tmp_path)


def test_nothing_is_copied_where_a_weight_is_missing(webui, monkeypatch):
    monkeypatch.setattr(Layout, "lora_path", lambda self, kind: webui / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="make train"):
        install.install(webui)
    assert [path.name for path in webui.iterdir()] == ["launch.py"]


def test_the_command_says_what_it_did(webui, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["install", str(webui)])
    assert install.main() == 0
    assert "mini-sd15-tcd.safetensors" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["install", str(webui / "models")])
    assert install.main() == 1
    assert "launch.py" in capsys.readouterr().err


def test_a_file_in_the_folders_place_is_a_sentence(webui, monkeypatch, capsys):
    place = webui / "models/Stable-diffusion"
    place.mkdir(parents=True)
    (place / "fewstep-mini").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["install", str(webui)])
    assert install.main() == 1
    assert capsys.readouterr().err.startswith("not installed: ")
    assert (place / "fewstep-mini").read_text() == "mine"


def test_a_link_to_the_projects_own_weights_is_refused(webui):
    place = webui / "models/Stable-diffusion"
    place.mkdir(parents=True)
    config = LAYOUTS["sd15"].config_path
    before = config.read_bytes()
    (place / "fewstep-mini").symlink_to(config.parent)
    with pytest.raises(FileExistsError, match="a link to this project's own weights"):
        install.install(webui)
    assert config.read_bytes() == before


def test_a_folder_with_any_name(tmp_path):
    webui = tmp_path / "my \U0001f600 webui: 1.10 #2"
    webui.mkdir()
    (webui / "launch.py").touch()
    install.install(webui)
    config = yaml.safe_load((webui / "models/Stable-diffusion/fewstep-mini/mini-sd15.yaml").read_text(encoding="utf-8"))
    named = config["model"]["params"]["cond_stage_config"]["params"]["version"]
    assert (Path(named) / "config.json").is_file()
