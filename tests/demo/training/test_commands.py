"""Every training's command, with few steps and pictures: weights that can be loaded, and states to go on from."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from demo.model import checkpoint
from demo.model.layouts import FOLDER, LAYOUTS, LORAS
from demo.model.unet import alphas_cumprod
from demo.training import autoencoder, distil, unet
from demo.training.encoded import LARGEST_CUT, RESOLUTIONS, TARGETS, Encoded, close_up, facing_one_way, picked, show
from demo.training.loop import digest
from lib_fewstep.models import HostModel, ModelSettings, plan_of, read

TRIAL = ["--steps", "2", "--pictures", "24"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in a folder of its own; what it wrote."""
    monkeypatch.setattr(unet, "READING_STEPS", 2)

    def called(name, *words, out=True):
        places = ["--states", str(tmp_path / "states"), *(["--out", str(tmp_path / "out")] if out else [])]
        monkeypatch.setattr("sys.argv", [name, *words, *TRIAL, *places])
        importlib.import_module(f"demo.training.{name}").main()
        return {path.name for path in (tmp_path / "out").glob("*")}

    called.states = tmp_path / "states"
    return called


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """The files of a trained checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet, "READING_STEPS", 2)
        places = ["--states", str(folder / "states"), "--out", str(folder / "out")]
        patch.setattr("sys.argv", ["unet", "sd15", *TRIAL, *places])
        unet.main()
    return folder


@pytest.fixture
def trained(run, trained_once, tmp_path):
    """Runs a command where a checkpoint has been trained before."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return run


@pytest.fixture
def mirrored(monkeypatch):
    """For each batch that is picked, whether mirrored things are among what it is picked from."""
    seen = []

    def noted(groups, rng):
        seen.append(any(bool(group.mirrored.any()) for group in groups))
        return picked(groups, rng)

    for module in (unet, distil):
        monkeypatch.setattr(module, "picked", noted)
    return seen


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_checkpoint(run, layout, tmp_path, mirrored):
    """In the last of its stages nothing is mirrored."""
    assert run("unet", layout) == {f"mini-{layout}.safetensors"}
    assert {path.name for path in run.states.rglob("*.pt")} == {
        "autoencoder.pt",
        f"latents-{layout}.pt",
        f"{layout}.pt",
        f"close-ups-{layout}.pt",
        *(f"{layout}-close-ups-{number}.pt" for number, _ in enumerate(unet.CLOSE_UP_PLANS[layout], start=1)),
        f"{layout}-facing.pt",
    }
    with safe_open(tmp_path / "out" / f"mini-{layout}.safetensors", framework="pt") as file:
        assert file.metadata()["fewstep.steps"] == "+".join(["2"] * (2 + len(unet.CLOSE_UP_PLANS[layout])))
        assert all(bool(torch.isfinite(file.get_tensor(key)).all()) for key in file.keys())  # noqa: SIM118
    assert mirrored == [True] * (2 + 2 * len(unet.CLOSE_UP_PLANS[layout])) + [False] * 2


def test_a_trial_leaves_the_real_training_alone(run):
    """Its states are in a folder of their own, so that a training never goes on from other pictures; so are weights."""
    before = {path: path.read_bytes() for path in FOLDER.glob("*.safetensors")}
    run("distil", "sd15", "lcm", out=False)
    assert [path.name for path in run.states.iterdir()] == ["seed-0-2-24"]
    assert (run.states / "seed-0-2-24" / "mini-sd15-lcm.safetensors").is_file()
    assert {path: path.read_bytes() for path in FOLDER.glob("*.safetensors")} == before


def test_later_stages_of_another_first_stage_are_refused(trained, monkeypatch):
    """Only the first stage's state is deleted, after its plan has changed."""
    (state,) = trained.states.rglob("sd15.pt")
    state.unlink()
    monkeypatch.setitem(unet.PLANS, "sd15", replace(unet.PLANS["sd15"], rate=1e-3))
    with pytest.raises(SystemExit, match=r"sd15-close-ups-1\.pt is of another training or came after another one"):
        trained("unet", "sd15")


def test_a_unet_that_learnt_from_another_autoencoder_is_refused(trained, monkeypatch):
    """Also where its pictures were encoded anew."""
    for name in ("autoencoder", "latents-sd15", "close-ups-sd15"):
        next(trained.states.rglob(f"{name}.pt")).unlink()
    monkeypatch.setattr(autoencoder, "PLAN", replace(autoencoder.PLAN, rate=1e-3))
    with pytest.raises(SystemExit, match=r"/sd15\.pt is of another training or came after another one"):
        trained("unet", "sd15")


def test_latents_of_another_autoencoder_are_refused(run, monkeypatch):
    run("distil", "sd15", "lcm")
    monkeypatch.setattr("demo.training.encoded.digest", lambda networks: "another")
    with pytest.raises(SystemExit, match=r"latents-sd15\.pt is of another training"):
        run("distil", "sd15", "lcm")


def test_a_lora_is_taught_by_the_checkpoint_beside_it(trained, tmp_path):
    """On the same latents, though a checkpoint's file is rounded."""
    trained("distil", "sd15", "lcm")
    (state,) = trained.states.rglob("sd15-lcm.pt")
    beside = checkpoint.load(LAYOUTS["sd15"], path=tmp_path / "out" / "mini-sd15.safetensors")
    assert torch.load(state, weights_only=True)["since"] == digest(beside.unet)


def test_the_autoencoder_alone(run):
    assert run("autoencoder") == set()
    assert [path.name for path in run.states.rglob("*.pt")] == ["autoencoder.pt"]


@pytest.mark.parametrize(("layout", "kind"), zip(LAYOUTS, LORAS, strict=True))
def test_a_lora(run, layout, kind, tmp_path, mirrored):
    """Of the embedded checkpoint; two steps change it, on things that are not mirrored."""
    assert run("distil", layout, kind) == {f"mini-{layout}-{kind}.safetensors"}
    with safe_open(tmp_path / "out" / f"mini-{layout}-{kind}.safetensors", framework="pt") as file:
        ups = [file.get_tensor(key) for key in file.keys() if "lora_up" in key]  # noqa: SIM118
    assert all(bool(torch.isfinite(up).all()) for up in ups)
    assert any(bool(up.any()) for up in ups)
    assert mirrored == [False] * 2


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_checkpoint_that_predicts_v(run, layout, tmp_path, mirrored):
    """Of the embedded one, whose UNet alone changes; the extension knows it by its header."""
    name = f"mini-{layout.name}-v"
    assert run("v_prediction", layout.name) == {f"{name}.safetensors", f"{name}.yaml"}
    path = tmp_path / "out" / f"{name}.safetensors"
    plan = plan_of(ModelSettings(), read(path), HostModel("noise", alphas_cumprod()))
    assert plan.said == 'v prediction (the file says "v_pred"), zero terminal SNR'
    parts = zip(
        checkpoint.load(layout).parts().items(), checkpoint.load(layout, path=path).parts().values(), strict=True
    )
    assert [prefix for (prefix, before), after in parts if digest(before) != digest(after)] == [layout.unet_prefix]
    assert mirrored == [False] * 2


def test_pictures_as_sdxl_is_shown_them():
    rng = np.random.default_rng(0)
    shown = [show(rng, sized=True) for _ in range(200)]
    for one in shown:
        height, width, top, left, *target = one.sizes
        assert tuple(target) in TARGETS
        assert one.picture.shape == (*target, 3)
        assert min(height, width) in RESOLUTIONS
        assert min(top, left) == 0
        assert max(top, left) <= LARGEST_CUT
    assert {one.sizes[4:] for one in shown} == set(TARGETS)
    assert any(one.sizes[2] for one in shown)
    assert any(one.sizes[3] for one in shown)


@pytest.mark.parametrize("sized", [False, True])
def test_close_ups_are_pieces_of_larger_drawings(sized):
    rng = np.random.default_rng(0)
    shown = [close_up(rng, sized=sized) for _ in range(50)]
    assert all(one.picture.shape == (128, 128, 3) for one in shown)
    assert all(one.sizes[4:] == (128, 128) for one in shown)
    for one in shown:
        height, width, top, left = one.sizes[:4]
        assert top + 128 <= height
        assert left + 128 <= width
    assert (max(one.sizes[0] for one in shown) > 250) == sized


def group_of(count):
    """Encoded pictures that are told apart by their first size; every third is mirrored."""
    numbers, latents = torch.arange(count), torch.zeros(count, 4, 16, 16)
    prompts = [f"a red house {number}" for number in numbers.tolist()]
    return Encoded(prompts, numbers[:, None].expand(count, 6), latents, torch.ones_like(latents), numbers % 3 == 0)


def test_what_faces_one_way_keeps_its_prompts_and_sizes():
    (kept,) = facing_one_way([group_of(7)])
    assert kept.sizes[:, 0].tolist() == [1, 2, 4, 5]
    assert kept.prompts == [f"a red house {number}" for number in (1, 2, 4, 5)]
    assert kept.means.shape == kept.deviations.shape == (4, 4, 16, 16)
    assert not kept.mirrored.any()


def test_close_ups_are_shown_below_their_timestep(monkeypatch):
    """Where every batch is of close-ups, no timestep is above it; where none is, there are all."""
    seen = []

    class Unet(torch.nn.Module):
        def forward(self, x, times, **_):
            seen.extend(times.tolist())
            return x

    group = group_of(4)
    model = SimpleNamespace(unet=Unet(), conditioning=lambda prompts, sizes: {})
    monkeypatch.setattr(unet, "CLOSE_UP_SHARE", 1.0)
    for close_ups, highest in (([group], unet.CLOSE_UPS_BELOW), ([], 1000)):
        seen.clear()
        for step in range(50):
            unet.prediction_loss(model, [group], close_ups)(step, np.random.default_rng(step))
        assert 0.97 * highest < max(seen) < highest


def test_pictures_as_sd15_is_shown_them():
    one = show(np.random.default_rng(0), sized=False)
    assert one.picture.shape == (128, 128, 3)
    assert one.sizes == (128, 128, 0, 0, 128, 128)


def test_a_teachers_step_along_its_own_noise_is_exact():
    """From the latents and the true noise, DDIM's step gives the true noisy latents of the other timestep."""
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    here, there = torch.tensor([999, 499]), torch.tensor([979, 0])
    noised = [signal * latents + level * noise for signal, level in map(distil._scales, (here, there))]
    torch.testing.assert_close(distil._moved(noised[0], noise, here, there), noised[1], rtol=1e-3, atol=1e-3)
    image = distil._moved(noised[0], noise, here, there, to_image=True)
    torch.testing.assert_close(image, latents, rtol=1e-3, atol=1e-3)


class Student(torch.nn.Module):
    """Sees in every picture the same noise."""

    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def forward(self, x, times):
        return self.noise


@pytest.mark.parametrize("here", [1, 400, 999])
def test_lcms_answer(here):
    """The boundary functions of arXiv 2310.04378, section 3.2: c_skip and c_out of 10 t with a boundary of 0.5."""
    lesson = distil.Lesson(None, Student(), [], tcd=False)
    noised, times = torch.randn(2, 4, 8, 8), torch.full((2,), here)
    signal, level = distil._scales(times)
    image = (noised - level * Student.noise) / signal
    scaled = 10.0 * here
    skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25) ** 0.5
    torch.testing.assert_close(lesson._answer(noised, times, times * 0, {}), skip * noised + out * image)


def test_lcms_answer_at_the_first_timestep_is_what_it_is_given():
    lesson = distil.Lesson(None, Student(), [], tcd=False)
    noised, times = torch.randn(2, 4, 8, 8), torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(lesson._answer(noised, times, times, {}), noised)


def test_tcds_answer_at_its_goal_is_what_it_is_given():
    lesson = distil.Lesson(None, Student(), [], tcd=True)
    noised, times = torch.randn(2, 4, 8, 8), torch.tensor([999, 300])
    torch.testing.assert_close(lesson._answer(noised, times, times, {}), noised, rtol=1e-4, atol=1e-4)
