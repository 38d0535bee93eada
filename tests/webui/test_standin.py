"""What the stand-in has besides the host's behaviour, which tests/contract compares: its strictness and its façade."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ldm.modules import attention
from ldm.modules.diffusionmodules import openaimodel

from tests.contract import boot
from tests.contract.helpers import SMALL, recorded
from tests.webui import standin

SCRIPTS = boot.EXTENSION / "scripts"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An extension's `scripts` folder with one script."""
    scripts = tmp_path / "recorder" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "recorder.py").write_text((SCRIPTS / "recorder.py").read_text())
    return scripts


@pytest.fixture
def host(folder: Path) -> Iterator[standin.Host]:
    """A WebUI with SD1 loaded."""
    with standin.webui("sd1", folder) as running:
        yield running


class TestStrictness:
    @pytest.mark.parametrize(
        "name",
        ["scripts", "shared", "processing", "script_callbacks", "sd_samplers", "devices", "errors", "paths"],
    )
    def test_modules_refuse_unknown_names(self, host: standin.Host, name: str) -> None:
        module = sys.modules[f"modules.{name}"]
        with pytest.raises(AttributeError, match=f"modules.{name} has no 'nothing'"):
            _ = module.nothing
        with pytest.raises(AttributeError, match="that could be set"):
            module.nothing = 1

    def test_objects_refuse_unknown_names(self, host: standin.Host) -> None:
        shared = host.shared
        p = host.job("txt2img", **SMALL)
        for thing in (shared.opts, shared.cmd_opts, shared.state, shared.sd_model.sd_checkpoint_info, p):
            with pytest.raises(AttributeError, match="nothing"):
                _ = thing.nothing
        for thing in (shared.opts, shared.cmd_opts, shared.state):
            with pytest.raises(AttributeError, match="nothing"):
                thing.nothing = 1
        p.mine = 1
        assert p.mine == 1
        with pytest.raises(TypeError, match="nothing"):
            host.job("txt2img", **SMALL, nothing=1)

    def test_modules_that_are_not_there_do_not_import(self, host: standin.Host) -> None:
        with pytest.raises(ImportError):
            __import__("modules.nothing")

    def test_nothing_is_left_behind(self, folder: Path) -> None:
        import gradio.components

        forward, init, cat = (
            attention.CrossAttention.forward,
            gradio.components.IOComponent.__init__,
            openaimodel.th,
        )
        names = set(sys.modules)
        with standin.webui("sd1", folder):
            assert "modules.scripts" in sys.modules
        left = {name for name in set(sys.modules) - names if name.split(".")[0] in ("modules", "launch", "k_diffusion")}
        assert left == set()
        assert attention.CrossAttention.forward is forward
        assert gradio.components.IOComponent.__init__ is init
        assert openaimodel.th is cat

    def test_the_installer_sees_what_is_there(self, host: standin.Host, tmp_path: Path) -> None:
        installer = tmp_path / "install.py"
        installer.write_text(
            inspect.cleandoc("""
                import launch
                for package in ("here", "missing"):
                    if not launch.is_installed(package):
                        launch.run_pip(f"install {package}", package)
            """)
        )
        host.installed = {"here"}
        assert host.run_installer(installer) == ["install missing"]

    def test_without_the_page_nothing_is_built_before_it(self, folder: Path) -> None:
        (folder / "early.py").write_text(
            "from modules import script_callbacks, shared\n"
            "script_callbacks.on_before_ui(lambda: setattr(shared.state, 'job', 'before the page'))\n"
        )
        for nowebui, job in ((True, ""), (False, "before the page")):
            with standin.webui("sd1", folder, nowebui=nowebui) as host:
                assert (host.shared.state.job, host.shared.cmd_opts.nowebui) == (job, nowebui)


class TestFacade:
    def test_labels_that_stand_twice_are_found(self, folder: Path) -> None:
        script = folder / "recorder.py"
        script.write_text(script.read_text().replace('label="Recorder count"', 'label="Recorder mode"'))
        with standin.webui("sd1", folder) as host:
            assert host.tabs["txt2img"].duplicate_labels == ["Recorder mode"]

    def test_a_setting_without_a_section_breaks_the_page(self, folder: Path) -> None:
        settings = (SCRIPTS / "settings.py").read_text()
        (folder / "settings.py").write_text(settings.replace(", section=section)", ")"))
        with pytest.raises(TypeError), standin.webui("sd1", folder):
            pass

    @pytest.mark.parametrize("name", sorted(standin.RECIPES))
    def test_every_checkpoint_generates(self, folder: Path, name: str) -> None:
        with standin.webui(name, folder) as host:
            result = host.api.txt2img(SMALL)
            assert (result.status, result.message) == (200, "")
            assert bool(torch.isfinite(result.latents).all())
            model = host.shared.sd_model
            kind = {"dit": "sd3", "bk-sdm": "sd1"}.get(name, name.split("-", maxsplit=1)[0])
            flags = {flag: getattr(model, f"is_{flag}") for flag in ("sd1", "sd2", "sdxl", "ssd", "sd3")}
            assert flags == {flag: flag == kind for flag in flags}
            assert (model.parameterization == "v") is name.endswith("-v")
            assert hasattr(model, "create_denoiser") is (name == "sd3")

    def test_a_flow_model_makes_its_own_denoiser(self, folder: Path) -> None:
        with standin.webui("sd3", folder) as host:
            result = host.txt2img(**{**SMALL, "width": 72, "sampler_name": "Euler"})
            assert result.latents.shape == (1, 16, 8, 8)
            assert float(recorded("denoiser")[0].sigma[0]) == 1.0
            assert host.img2img(**SMALL, init_images=[standin.picture(64, 64)]).status == 200

    def test_a_checkpoint_of_any_name(self, host: standin.Host) -> None:
        info = host.checkpoints.add("fast/sdxl_lightning_4step", like="sdxl")
        assert (info.name_for_extra, info.model_name) == ("sdxl_lightning_4step", "fast_sdxl_lightning_4step")
        assert host.load_model("sdxl_lightning_4step").sd_checkpoint_info is info
        assert "Model: sdxl_lightning_4step" in host.txt2img(**SMALL).infotexts[0]

    def test_axes_and_values_that_do_not_fit_are_refused(self, host: standin.Host) -> None:
        with pytest.raises(ValueError, match="no choices"):
            host.xyz({"Sampler": ["Nobody"]}, **SMALL)
        with pytest.raises(LookupError, match="Nothing of the kind"):
            host.xyz({"Nothing of the kind": "1"}, **SMALL)
        for axes in ({"Steps": ["1"]}, {"Sampler": "Euler", "Schedule type": ["Karras"]}):
            with pytest.raises(TypeError, match="cannot have"):
                host.xyz(axes, **SMALL)

    def test_a_host_without_plots(self, folder: Path) -> None:
        with standin.webui("sd1", folder, xyz=False) as host:
            assert host.tabs["txt2img"].runner.titles == []
            with pytest.raises(LookupError, match="no X/Y/Z plot"):
                host.xyz({"Steps": "1"}, **SMALL)

    def test_names_that_are_not_on_the_page_are_refused(self, host: standin.Host) -> None:
        with pytest.raises(LookupError, match="Recoder"):
            host.txt2img(**SMALL, ui={"Recoder mode": "b"})
        with pytest.raises(LookupError, match="Thrice"):
            host.txt2img(script="Thrice", **SMALL)
