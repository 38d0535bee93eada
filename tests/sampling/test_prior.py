"""The informative prior: its statistics, its file, and where a run starts."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from lib_fewstep.options import SettingError
from lib_fewstep.sampling.prior import LONGEST_SIDE, Prior, load, measure, save


def test_what_cannot_be_written_is_refused(tmp_path):
    prior = measure([torch.randn(4, 8, 8)])
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "folder.safetensors", tmp_path / "file" / "x.safetensors", tmp_path / ("日" * 100)):
        with pytest.raises(SettingError, match="it cannot be written"):
            save(prior, path)


def test_each_pixel_counts_once():
    """By hand: 0, 0, 0, 0 and 5 have mean 1 and variance 4."""
    found = measure([torch.zeros(2, 2, 2), torch.full((2, 1, 1), 5.0)])
    torch.testing.assert_close(found.mean, torch.ones(2))
    torch.testing.assert_close(found.std, torch.full((2,), 2.0))


def test_channels_are_measured_apart():
    found = measure([torch.stack([torch.ones(3, 5), torch.arange(15.0).view(3, 5)])])
    torch.testing.assert_close(found.mean, torch.tensor([1.0, 7.0]))
    torch.testing.assert_close(found.std, torch.tensor([0.0, (224 / 12) ** 0.5]))


def test_a_run_starts_with_the_measured_statistics():
    prior = Prior(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    noise, own = torch.randn(2, 4, 2, 200, 200, generator=torch.Generator().manual_seed(0))
    found = prior.start(noise, own, 2.0).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.mean(dim=1), prior.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(found.var(dim=1), prior.std**2 + 4, rtol=0.02, atol=0)
    assert torch.equal(prior.start(0 * noise, 0 * own, 2.0)[0, :, 0, 0], prior.mean)


FORMS = {
    "channels": (torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])),
    "one deviation": (torch.tensor([1.0, -2.0]), torch.tensor(0.7)),
    "pixels": (torch.arange(24.0).view(2, 3, 4), torch.tensor([0.5, 3.0])),
    "pixels, one deviation": (torch.arange(24.0).view(2, 3, 4), torch.tensor(0.0)),
}
"""Means and deviations of two channels."""


@pytest.mark.parametrize("form", FORMS)
def test_the_formula(form):
    """In float64, at the size of the statistics: mean + std n1 + sigma n2."""
    mean, std = FORMS[form]
    draw = torch.Generator().manual_seed(0)
    noise, own = torch.randn(2, 3, 2, 3, 4, generator=draw, dtype=torch.float64)
    found = Prior(mean, std).start(noise, own, 14.6)
    wide = [values.double().numpy().reshape(values.shape + (1, 1) * (values.dim() == 1)) for values in (mean, std)]
    wanted = wide[0] + wide[1] * own.numpy() + 14.6 * noise.numpy()
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-12, atol=0)


def test_a_mean_of_pixels_is_resized_to_the_latents():
    """A picture of two halves stays one, at any size and shape."""
    halves = torch.ones(1, 4, 8)
    halves[..., 4:] = -1
    for height, width in ((8, 16), (2, 4), (6, 40)):
        found = Prior(halves, torch.tensor(0.0)).start(torch.zeros(1, 1, height, width), torch.zeros(1), 1.0)
        assert found.shape == (1, 1, height, width)
        torch.testing.assert_close(found[..., : width // 4], torch.ones(1, 1, height, width // 4))
        torch.testing.assert_close(found[..., -(width // 4) :], -torch.ones(1, 1, height, width // 4))


def test_the_models_own_latents():
    """Where the statistics are the host's, whole latents are converted, not the noise."""
    prior = Prior(torch.tensor([1.0]), torch.tensor([2.0]))
    noise, own = torch.randn(2, 1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = prior.start(noise, own, 5.0, lambda latents: 3 * latents - 1)
    torch.testing.assert_close(found, 3 * (1 + 2 * own) - 1 + 5 * noise)


def latents():
    return [torch.randn(3, *size, generator=torch.Generator().manual_seed(1)) for size in ((4, 6), (4, 6), (8, 6))]


def test_pixels_are_measured_apart():
    """By hand, of latents of one size: the mean of each pixel, and what is left of each channel, or of all."""
    values = torch.stack(latents()[:2]).double()
    left = values - values.mean(0)
    found = measure(latents()[:2], of_pixels=True)
    torch.testing.assert_close(found.mean.double(), values.mean(0))
    torch.testing.assert_close(found.std.double(), left.pow(2).mean(dim=(0, 2, 3)).sqrt())
    one = measure(latents()[:2], of_pixels=True, one_deviation=True)
    torch.testing.assert_close(one.std.double(), left.pow(2).mean().sqrt())


def test_one_deviation_of_channels():
    values = torch.cat([latent.flatten(1) for latent in latents()], dim=1).double()
    found = measure(latents(), one_deviation=True)
    torch.testing.assert_close(found.mean.double(), values.mean(1))
    torch.testing.assert_close(found.std.double(), (values - values.mean(1, keepdim=True)).pow(2).mean().sqrt())


def test_one_latent_is_its_own_mean():
    (latent,) = latents()[:1]
    found = measure([latent], of_pixels=True)
    assert torch.equal(found.mean, latent)
    assert torch.equal(found.std, torch.zeros(3))


def test_latents_of_other_sizes_are_resized_to_the_first():
    assert measure(latents(), of_pixels=True).mean.shape == (3, 4, 6)
    large = torch.nn.functional.interpolate(latents()[0][None], size=(200, 300), mode="bilinear")[0]
    assert measure([large], of_pixels=True).mean.shape == (3, 85, LONGEST_SIDE)


@pytest.mark.parametrize("form", FORMS)
def test_an_offset_moves_the_mean(form):
    prior = Prior(*FORMS[form])
    moved = prior.shifted(torch.tensor([10.0, -1.0]))
    for channel, offset in enumerate((10.0, -1.0)):
        torch.testing.assert_close(moved.mean[channel], prior.mean[channel] + offset)
    assert torch.equal(moved.std, prior.std)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_says_which_form_it_has(form, tmp_path):
    prior, path = Prior(*FORMS[form]), tmp_path / "prior.safetensors"
    save(prior, path)
    found = load(path)
    assert torch.equal(found.mean, prior.mean)
    assert torch.equal(found.std, prior.std)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_start_is_of_the_noise_s_dtype(dtype):
    found = Prior(torch.zeros(4), torch.ones(4)).start(torch.ones(1, 4, 2, 2, dtype=dtype), torch.ones(1, 4, 2, 2), 2.0)
    assert found.isfinite().all()


def test_another_number_of_channels_is_refused():
    with pytest.raises(SettingError) as refusal:
        Prior(torch.zeros(4), torch.ones(4)).start(torch.zeros(1, 16, 2, 2), torch.zeros(1, 16, 2, 2), 1.0)
    sentence = "prior = statistics of 4 channels is not allowed: it must be statistics of 16 channels"
    assert str(refusal.value) == f"{sentence}, like this model's latents."


def test_round_trip(tmp_path):
    prior = measure([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))])
    path = tmp_path / "new" / "prior.safetensors"
    save(prior, path)
    found = load(path)
    assert torch.equal(found.mean, prior.mean)
    assert torch.equal(found.std, prior.std)


def tensors(mean, std):
    return lambda path: save_file({"mean": torch.tensor(mean), "std": torch.tensor(std)}, path)


def truncated(path):
    save(Prior(torch.zeros(4), torch.ones(4)), path)
    path.write_bytes(path.read_bytes()[:-3])


BAD = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated,
    "text": lambda path: path.write_text("mean = 0, std = 1, and so on"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"mean": [0.0], "std": [1.0]})),
    "torch's own": lambda path: torch.save({"mean": torch.zeros(4), "std": torch.ones(4)}, path),
    "wrong keys": lambda path: save_file({"mean": torch.zeros(4), "deviation": torch.ones(4)}, path),
    "nothing in it": lambda path: save_file({}, path),
    "unequal": tensors([0.0, 0.0], [1.0]),
    "wrong shape": tensors([[0.0, 0.0]], [[1.0, 1.0]]),
    "one number": tensors(0.0, 1.0),
    "no pixels": lambda path: save_file({"mean": torch.zeros(2, 0, 3), "std": torch.ones(2)}, path),
    "a deviation of pixels": lambda path: save_file({"mean": torch.zeros(2, 1, 1), "std": torch.ones(2, 1, 1)}, path),
    "nan": tensors([float("nan"), 0.0], [1.0, 1.0]),
    "infinite": tensors([0.0, 0.0], [1.0, float("inf")]),
    "negative": tensors([0.0, 0.0], [1.0, -1.0]),
}


def test_a_precision_that_this_torch_lacks_is_refused(tmp_path, monkeypatch):
    """As those of newer formats on the WebUI's torch 2.1."""
    path = tmp_path / "prior.safetensors"
    statistics = {"mean": torch.zeros(4), "std": torch.ones(4)}
    save_file({**statistics, "another": torch.zeros(4, dtype=torch.int8)}, path)
    monkeypatch.delattr(torch, "int8")
    with pytest.raises(SettingError, match="it is not a safetensors file"):
        load(path)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_sentence(kind, tmp_path):
    path = tmp_path / "prior.safetensors"
    BAD[kind](path)
    with pytest.raises(SettingError) as refusal:
        load(path)
    said = str(refusal.value)
    assert said.startswith("prior = prior.safetensors is not allowed: ")
    assert said.endswith(".")
    assert "\n" not in said
