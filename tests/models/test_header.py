"""What a checkpoint's file says of its model."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lib_fewstep.models import Told, read
from lib_fewstep.models.header import tensor
from lib_fewstep.models.kinds import EDM, EDM_V, NOISE, V

WEIGHT = "model.diffusion_model.input_blocks.0.0.weight"
GUIDANCE = "model.diffusion_model.time_embed.cond_proj.weight"
NUMBER = torch.ones(1)


def written(path, names=(), metadata=None, **tensors):
    weights = {WEIGHT: torch.ones(2, 2), **{name: NUMBER.clone() for name in names}, **tensors}
    save_file(weights, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("names", "metadata", "expected"),
    [
        ([], None, Told()),
        (["v_pred"], None, Told(V, "v_pred")),
        (["v_pred", "ztsnr"], None, Told(V, "v_pred", zero_snr=True)),
        (["ztsnr"], None, Told(zero_snr=True)),
        (["edm_mean", "edm_std"], None, Told(EDM, "edm_mean", latents=True)),
        (["edm_mean"], None, Told()),
        ([], {"modelspec.prediction_type": "v"}, Told(V, "modelspec.prediction_type")),
        ([], {"modelspec.prediction_type": " V_Prediction "}, Told(V, "modelspec.prediction_type")),
        ([], {"modelspec.prediction_type": "epsilon"}, Told(NOISE, "modelspec.prediction_type")),
        ([], {"modelspec.prediction_type": "something else"}, Told()),
        (["v_pred"], {"modelspec.prediction_type": "epsilon"}, Told(V, "v_pred")),
        ([GUIDANCE], None, Told(guidance=GUIDANCE)),
    ],
)
def test_markers(tmp_path, names, metadata, expected):
    assert read(written(tmp_path / "model.safetensors", names, metadata)) == expected


@pytest.mark.parametrize("low", [None, 0.01])
def test_the_range_of_edm_v_is_in_the_file(tmp_path, low):
    ends = {"edm_vpred.sigma_max": torch.tensor(60.0)}
    if low is not None:
        ends["edm_vpred.sigma_min"] = torch.tensor(low)
    found = read(written(tmp_path / "model.safetensors", **ends))
    assert (found.kind, found.by) == (EDM_V, "edm_vpred.sigma_max")
    assert found.levels == pytest.approx((low or 0.002, 60.0))


def test_an_end_of_the_range_that_is_no_number_is_named(tmp_path):
    path = written(tmp_path / "model.safetensors", **{"edm_vpred.sigma_max": torch.tensor([60.0, 70.0])})
    with pytest.raises(ValueError, match=r"^The header of model\.safetensors cannot be read: "):
        read(path)


@pytest.mark.parametrize("low", [0.0, -0.002, float("nan"), 60.0, 61.0])
def test_a_lowest_level_that_is_none_is_named(tmp_path, low):
    ends = {"edm_vpred.sigma_max": torch.tensor(60.0), "edm_vpred.sigma_min": torch.tensor(low)}
    refused_levels(written(tmp_path / "model.safetensors", **ends), low, 60)


@pytest.mark.parametrize("high", [0.0, -1.0, 0.001, float("inf"), float("nan")])
def test_a_highest_level_that_is_none_is_named(tmp_path, high):
    path = written(tmp_path / "model.safetensors", **{"edm_vpred.sigma_max": torch.tensor(high)})
    refused_levels(path, 0.002, high)


def refused_levels(path, low, high):
    with pytest.raises(ValueError, match=r"cannot be read") as refusal:
        read(path)
    assert str(refusal.value) == (
        f"The header of model.safetensors cannot be read: edm_vpred.sigma_min = {low:g} and edm_vpred.sigma_max = "
        f"{high:g} are not allowed: both must be above 0 and finite, the second above the first"
    )


def test_one_tensor_of_many(tmp_path):
    projection = torch.randn(3, 2)
    path = written(tmp_path / "model.safetensors", **{GUIDANCE: projection})
    assert torch.equal(tensor(path, GUIDANCE), projection)


def test_other_files_say_nothing(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"v_pred")
    assert read(path) == Told()


@pytest.mark.parametrize("content", [b"", b"12345", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0{not json       "])
def test_a_broken_header_is_named(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^The header of broken\.safetensors cannot be read: "):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^The header of gone\.safetensors cannot be read: "):
        read(tmp_path / "gone.safetensors")
