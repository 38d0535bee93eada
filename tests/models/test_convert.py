"""Converted folders of diffusers beside the models that wrote them: the same weights, the same results."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from ldm.util import instantiate_from_config
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from demo.model.autoencoder import Autoencoder
from lib_fewstep.models import header
from lib_fewstep.models.convert import NotConvertible, autoencoder, unet, write
from lib_fewstep.models.convert import text as text_encoder
from lib_fewstep.models.convert.__main__ import main
from lib_fewstep.models.convert.folder import Part
from tests.unets import in_precision, redraw
from tools.small_unets import LAYOUTS

WIDTH = 48
SMALL = LAYOUTS | {
    "whole": LAYOUTS["bk-sdm-base"] | {"layers_per_block": 2},
    "lcm": LAYOUTS["bk-sdm-base"] | {"time_cond_proj_dim": 256},
}


TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}


def check_near(ours, theirs):
    """Relative to the largest value."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCES[theirs.dtype] * float(theirs.abs().max()))


def random_unet(**changes):
    unet = UNet2DConditionModel(cross_attention_dim=WIDTH, **changes)
    redraw(unet, 0)
    return unet.eval()


def random_autoencoder(**changes):
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
    settings = {"block_out_channels": [32, 32, 64], "layers_per_block": 1, "scaling_factor": 0.5, "sample_size": 32}
    autoencoder = AutoencoderKL(**{**kinds, **settings, **changes})
    redraw(autoencoder, 1)
    return autoencoder.eval()


def random_text(**changes):
    settings = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=60, max_position_embeddings=9, **{**settings, **changes}))
    redraw(text, 2)
    return text.eval()


def saved(folder, unet=None, autoencoder=None, text=None, **scheduler):
    """A folder as diffusers writes it, with a tokenizer of one file."""
    (unet or random_unet(**SMALL["bk-sdm-small"])).save_pretrained(folder / "unet")
    (autoencoder or random_autoencoder()).save_pretrained(folder / "vae")
    (text or random_text()).save_pretrained(folder / "text_encoder")
    DDIMScheduler(**{"beta_schedule": "scaled_linear", **scheduler}).save_pretrained(folder / "scheduler")
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / "tokenizer" / "merges.txt").write_text("")
    return folder


def converted(folder, **options):
    """The checkpoint's tensors, and what its YAML file says of the model."""
    out = folder / "out" / "small.safetensors"
    write(folder, out, **options)
    return load_file(out), yaml.safe_load(out.with_suffix(".yaml").read_text())["model"]["params"]


def loaded(network, tensors, prefix):
    """A network in double precision with all of its weights and no other ones, and what the class has no place for."""
    held = {name.removeprefix(prefix): tensor.double() for name, tensor in tensors.items() if name.startswith(prefix)}
    projection = held.pop("time_embed.cond_proj.weight", None)
    network.load_state_dict(held)
    return network.double().eval(), projection


@pytest.mark.long
@pytest.mark.parametrize("layout", SMALL)
@pytest.mark.parametrize("size", [(16, 16), (24, 8)])
def test_unets(tmp_path, layout, size):
    theirs = random_unet(**SMALL[layout])
    tensors, config = converted(saved(tmp_path, unet=theirs))
    ours, projection = loaded(instantiate_from_config(config["unet_config"]), tensors, "model.diffusion_model.")
    ours = in_precision(ours, torch.float64)
    draw = torch.Generator().manual_seed(3)
    x = torch.randn((2, 4, *size), generator=draw, dtype=torch.float64)
    context = torch.randn((2, 7, WIDTH), generator=draw, dtype=torch.float64)
    times = torch.tensor([999, 20])
    with torch.no_grad():
        check_near(ours(x, times, context=context), theirs.double()(x, times, encoder_hidden_states=context).sample)
    if layout == "lcm":
        torch.testing.assert_close(projection, theirs.time_embedding.cond_proj.weight)


@pytest.mark.long
def test_the_class_without_a_middle_is_named_where_there_is_none(tmp_path):
    """It is this extension's; with a middle block the WebUI's own class is named, which needs no extension."""
    for layout, theirs in SMALL.items():
        _, config = converted(saved(tmp_path / layout, unet=random_unet(**theirs)))
        own = config["unet_config"]["target"].startswith("lib_fewstep.")
        assert own == ("mid_block_type" in theirs)


@pytest.mark.parametrize("layers", [1, 2])
def test_autoencoders(tmp_path, layers):
    theirs = random_autoencoder(layers_per_block=layers)
    tensors, config = converted(saved(tmp_path, autoencoder=theirs))
    assert config["scale_factor"] == 0.5
    assert config["first_stage_config"]["target"] == "ldm.models.autoencoder.AutoencoderKL"
    layout = config["first_stage_config"]["params"]["ddconfig"]
    ours, _ = loaded(Autoencoder(layout), tensors, "first_stage_model.")
    theirs = theirs.double()
    picture = torch.randn((1, 3, 32, 16), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        latents = theirs.encode(picture).latent_dist
        check_near(ours.quant_conv(ours.encoder(picture)), latents.parameters)
        check_near(ours.decode(latents.mean), theirs.decode(latents.mean).sample)


def test_another_autoencoder(tmp_path):
    """SDXS has one of another class, which no checkpoint holds."""
    folder = saved(tmp_path / "pipeline")
    own = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(own | {"_class_name": "AutoencoderTiny"}))
    with pytest.raises(NotConvertible, match=r'vae/config\.json is of "AutoencoderTiny", .* of a AutoencoderKL\.'):
        converted(folder)
    random_autoencoder(scaling_factor=0.25).save_pretrained(tmp_path / "other")
    _, config = converted(folder, vae=tmp_path / "other")
    assert config["scale_factor"] == 0.25


def test_clip_has_its_names_and_a_folder_of_its_own(tmp_path):
    text = random_text()
    tensors, config = converted(saved(tmp_path, text=text))
    for name, tensor in text.state_dict().items():
        torch.testing.assert_close(tensors[f"cond_stage_model.transformer.{name}"], tensor)
    folder = tmp_path / "out" / "small-text"
    assert config["cond_stage_config"]["params"] == {"version": folder.resolve().as_posix()}
    assert {path.name for path in folder.iterdir()} == {"config.json", "merges.txt"}
    assert CLIPTextModel(CLIPTextConfig.from_pretrained(folder)).state_dict().keys() == text.state_dict().keys()


def by_open_clip(tensors, tokens, heads):
    """What OpenCLIP's text transformer with one layer makes of tokens, from its formulas."""
    width = tensors["positional_embedding"].shape[1]
    x = tensors["token_embedding.weight"][tokens] + tensors["positional_embedding"][: tokens.shape[1]]
    mask = torch.full((tokens.shape[1],) * 2, float("-inf"), dtype=x.dtype).triu(1)
    head = "transformer.resblocks.0."
    held = {name.removeprefix(head): tensor for name, tensor in tensors.items() if name.startswith(head)}
    attention = nn.MultiheadAttention(width, heads, batch_first=True, dtype=x.dtype)
    attention.load_state_dict({name[5:]: tensor for name, tensor in held.items() if name.startswith("attn.")})
    normal = functional.layer_norm(x, (width,), held["ln_1.weight"], held["ln_1.bias"])
    x = x + attention(normal, normal, normal, attn_mask=mask, need_weights=False)[0]
    normal = functional.layer_norm(x, (width,), held["ln_2.weight"], held["ln_2.bias"])
    inner = functional.gelu(functional.linear(normal, held["mlp.c_fc.weight"], held["mlp.c_fc.bias"]))
    x = x + functional.linear(inner, held["mlp.c_proj.weight"], held["mlp.c_proj.bias"])
    return functional.layer_norm(x, (width,), tensors["ln_final.weight"], tensors["ln_final.bias"])


def test_open_clip():
    """Stable Diffusion 2's text encoder: wide, so with one layer and few words; the YAML names the WebUI's class."""
    text = random_text(hidden_size=1024, num_attention_heads=16, hidden_act="gelu", num_hidden_layers=1)
    tensors = text_encoder.tensors_of(Part("text_encoder/config.json", text.config.to_dict(), text.state_dict()))
    prefix = "cond_stage_model.model."
    ours = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    tokens = torch.tensor([[3, 5, 7, 59]])
    with torch.no_grad():
        check_near(by_open_clip(ours, tokens, 16), text(tokens).last_hidden_state)


SECOND_TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23}


def test_open_clip_is_named(tmp_path):
    told = Part("text_encoder/config.json", CLIPTextConfig(**SECOND_TEXT).to_dict(), {})
    assert text_encoder.embedder_of(told, tmp_path)["target"].endswith("FrozenOpenCLIPEmbedder")
    other = Part(told.name, {**told.config, "num_hidden_layers": 12}, {})
    with pytest.raises(NotConvertible, match=r"num_hidden_layers = 12, .* it must be 23\.$"):
        text_encoder.embedder_of(other, tmp_path)


@pytest.mark.parametrize(("said", "meant"), [("epsilon", "eps"), ("v_prediction", "v")])
def test_the_scheduler_is_told(tmp_path, said, meant):
    _, config = converted(saved(tmp_path, prediction_type=said, beta_end=0.014, num_train_timesteps=1100))
    assert (config["parameterization"], config["linear_end"], config["timesteps"]) == (meant, 0.014, 1100)


REFUSED = [
    ({"unet": {"in_channels": 9}}, r"unet/config\.json has in_channels = 9, .* it must be 4\.$"),
    ({"unet": {"act_fn": "mish"}}, r'has act_fn = "mish", .* it must be "silu"\.$'),
    ({"unet": {"layers_per_block": [1, 2, 1, 1]}}, r"has layers_per_block = \[1, 2, 1, 1\], .* one number\.$"),
    ({"unet": {"attention_head_dim": [1, 1, 8, 8]}}, r"has attention_head_dim = \[1, 1, 8, 8\], .* heads of one width"),
    ({"unet": {"up_block_types": ["CrossAttnUpBlock2D"] * 4}}, r"the way up like the way down\.$"),
    ({"scheduler": {"beta_schedule": "linear"}}, r'has beta_schedule = "linear", .* it must be "scaled_linear"\.$'),
    ({"scheduler": {"prediction_type": "sample"}}, r'it must be "epsilon" or "v_prediction"\.$'),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_what_no_checkpoint_holds_is_refused(tmp_path, changes, sentence):
    unet = random_unet(**{**SMALL["bk-sdm-base"], **changes.get("unet", {})})
    folder = saved(tmp_path, unet=unet, **changes.get("scheduler", {}))
    with pytest.raises(NotConvertible, match=sentence):
        converted(folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("unet/config.json", "block_out_channels"),
        ("unet/config.json", "down_block_types"),
        ("vae/config.json", "block_out_channels"),
        ("scheduler/scheduler_config.json", "beta_start"),
    ],
)
def test_a_setting_that_is_missing_is_named(tmp_path, path, setting):
    place = saved(tmp_path) / path
    told = json.loads(place.read_text())
    del told[setting]
    place.write_text(json.dumps(told))
    with pytest.raises(NotConvertible, match=rf"^{path} does not say its {setting}\.$"):
        converted(tmp_path)


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("unet/config.json", "{", r"^unet/config\.json cannot be read: "),
        ("unet/config.json", "[]", r"^unet/config\.json is not allowed: it must be an object"),
        (
            "vae/diffusion_pytorch_model.safetensors",
            "text",
            r"^vae/diffusion_pytorch_model\.safetensors cannot be read",
        ),
        ("vae/diffusion_pytorch_model.safetensors", None, r"^vae has no weights: there must be a file such as"),
        ("text_encoder/config.json", None, r"^text_encoder/config\.json cannot be read: "),
    ],
)
def test_a_broken_folder_is_refused(tmp_path, path, content, sentence):
    place = saved(tmp_path) / path
    place.unlink() if content is None else place.write_text(content)
    with pytest.raises(NotConvertible, match=sentence):
        converted(tmp_path)


def part_of(model, name):
    """A model's config, as its file would say it, and its weights."""
    config = model.config.to_dict() if isinstance(model, CLIPTextModel) else dict(model.config)
    return Part(f"{name}/config.json", json.loads(json.dumps(config)), dict(model.state_dict()))


@pytest.fixture(scope="module")
def parts():
    """Of a small pipeline, each with the module that converts it."""
    return {
        "unet": (unet, part_of(random_unet(**SMALL["lcm"]), "unet")),
        "vae": (autoencoder, part_of(random_autoencoder(), "vae")),
        "text_encoder": (text_encoder, part_of(random_text(), "text_encoder")),
    }


MALFORMED = [
    ("unet", "attention_head_dim", [2, 4], r"whole number above 0, or a list of 4 such values\.$"),
    ("unet", "attention_head_dim", 0, r"attention_head_dim = 0, .* whole number above 0, or a list"),
    ("unet", "attention_head_dim", None, r"attention_head_dim = null, .* whole number above 0, or a list"),
    ("unet", "attention_head_dim", [[2], 4, 4, 4], r"attention_head_dim = \[\[2\], 4, 4, 4\], "),
    ("unet", "attention_head_dim", 5, r"each level's must divide its channels\.$"),
    ("unet", "attention_head_dim", [4, 4, 4, 8], r"there must be as many heads at each level, or heads of one width"),
    ("unet", "layers_per_block", None, r"layers_per_block = null, .* whole number above 0, or a list"),
    ("unet", "layers_per_block", [[1]] * 4, r"layers_per_block = \[\[1\], "),
    ("unet", "layers_per_block", 1.5, r"layers_per_block = 1\.5, "),
    ("unet", "transformer_layers_per_block", [[1], 1, 1, 1], r"transformer_layers_per_block = \[\[1\], "),
    ("unet", "transformer_layers_per_block", 2, r"transformer_layers_per_block = 2, .* it must be 1\.$"),
    (
        "unet",
        "only_cross_attention",
        [[True], False],
        r"only_cross_attention = \[\[true\], false\], .* true or false, or",
    ),
    ("unet", "block_out_channels", None, r"does not say its block_out_channels\.$"),
    ("unet", "block_out_channels", 32, r"it must be a list of whole numbers above 0\.$"),
    ("unet", "block_out_channels", [32, 48, 64, 64], r"it must be multiples of the first number\.$"),
    ("unet", "block_out_channels", [32, 64], r"the way up like the way down\.$"),
    ("unet", "down_block_types", [["DownBlock2D"]] * 4, r"the way up like the way down\.$"),
    ("unet", "down_block_types", "DownBlock2D", r"the way up like the way down\.$"),
    ("unet", "time_cond_proj_dim", "wide", r'time_cond_proj_dim = "wide", .* whole number above 0\.$'),
    ("unet", "cross_attention_dim", None, r"does not say its cross_attention_dim\.$"),
    ("unet", "flip_sin_to_cos", False, r"flip_sin_to_cos = false, .* it must be true\.$"),
    ("unet", "freq_shift", 1, r"freq_shift = 1, .* it must be 0\.$"),
    ("unet", "norm_eps", 1e-6, r"norm_eps = 1e-06, .* it must be 1e-05\.$"),
    ("unet", "mid_block_only_cross_attention", True, r"it must be null or false\.$"),
    ("unet", "num_class_embeds", 10, r"num_class_embeds = 10, .* it must be null\.$"),
    ("unet", "mid_block_scale_factor", 1.4, r"mid_block_scale_factor = 1\.4, .* it must be 1\.$"),
    ("unet", "downsample_padding", 0, r"downsample_padding = 0, .* it must be 1\.$"),
    ("unet", "center_input_sample", True, r"center_input_sample = true, .* it must be false\.$"),
    ("unet", "time_embedding_act_fn", "silu", r'time_embedding_act_fn = "silu", .* it must be null\.$'),
    ("unet", "timestep_post_act", "silu", r'timestep_post_act = "silu", .* it must be null\.$'),
    ("vae", "layers_per_block", None, r"layers_per_block = null, .* whole number above 0\.$"),
    ("vae", "block_out_channels", [32, [32], 64], r"it must be a list of whole numbers above 0\.$"),
    ("text_encoder", "num_hidden_layers", None, r"does not say its num_hidden_layers\.$"),
]


@pytest.mark.parametrize(("name", "setting", "value", "sentence"), MALFORMED)
def test_a_setting_of_no_checkpoint_is_refused_in_a_sentence(parts, name, setting, value, sentence):
    module, told = parts[name]
    changed = Part(told.name, {**told.config, setting: value}, told.tensors)
    with pytest.raises(NotConvertible, match=rf"^{name}/config\.json .*{sentence}"):
        {**(module.layout_of(changed) if module is not text_encoder else {}), **module.tensors_of(changed)}


ORDINARY = {
    "in_channels": 4,
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
SECOND = {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "dual_cross_attention": False,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "upcast_attention": True,
    "use_linear_projection": True,
    "mid_block_only_cross_attention": None,
}


@pytest.mark.parametrize(
    ("config", "heads"), [(ORDINARY, {"num_heads": 8}), (ORDINARY | SECOND, {"num_head_channels": 64})]
)
def test_whole_unets_are_allowed(config, heads):
    """With the settings of Stable Diffusion 1.5, and those that differ in 2.1; no memory for their weights is taken."""
    with torch.device("meta"):
        tensors = UNet2DConditionModel(**config).state_dict()
    whole = Part("unet/config.json", config, tensors)
    assert heads.items() <= unet.layout_of(whole).items()
    assert len(unet.tensors_of(whole)) == len(tensors)


def test_the_whole_models_other_parts_are_allowed():
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512],
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
        )
        first = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        second = CLIPTextModel(CLIPTextConfig(**SECOND_TEXT))
    assert len(autoencoder.tensors_of(part_of(vae, "vae"))) == len(vae.state_dict())
    assert len(text_encoder.tensors_of(part_of(first, "text_encoder"))) == len(first.state_dict())
    # Query, key and value are one, and the class has two more.
    joined = 23 * 2 * 2
    assert len(text_encoder.tensors_of(part_of(second, "text_encoder"))) == len(second.state_dict()) - joined + 2


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_every_weight_is_needed(parts, name):
    module, told = parts[name]
    for weight in told.tensors:
        held = {other: tensor for other, tensor in told.tensors.items() if other != weight}
        with pytest.raises(
            NotConvertible, match=rf"^The weight {weight}, of a layer that {name}/config.*, is missing\.$"
        ):
            module.tensors_of(Part(told.name, told.config, held))


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("unet", {"layers_per_block": 2}, r"^The weight down_blocks\.0\.resnets\.1\.\S+, .* is missing\.$"),
        (
            "unet",
            {"mid_block_type": None},
            r"^The weight mid_block\.\S+ is of no layer that unet/config\.json describes\.$",
        ),
        ("unet", {"time_cond_proj_dim": None}, r"^The weight time_embedding\.cond_proj\.weight is of no layer"),
        (
            "unet",
            {"time_cond_proj_dim": 128},
            r"cond_proj\.weight is of the shape \[32, 256\], .* must be \[32, 128\]\.$",
        ),
        (
            "unet",
            {"cross_attention_dim": 40},
            r"attn2\.to_k\.weight is of the shape \[32, 48\], .* must be \[32, 40\]\.$",
        ),
        (
            "unet",
            {"use_linear_projection": True},
            r"proj_in\.weight is of the shape \[32, 32, 1, 1\], .* \[32, 32\]\.$",
        ),
        ("vae", {"layers_per_block": 2}, r"^The weight encoder\.down_blocks\.0\.resnets\.1\.\S+, .* is missing\.$"),
        (
            "vae",
            {"block_out_channels": [32, 32]},
            r"^The weight encoder\.down_blocks\.1\.downsamplers\.0\.conv\.weight is of no layer",
        ),
        (
            "text_encoder",
            {"num_hidden_layers": 3},
            r"^The weight text_model\.encoder\.layers\.2\.\S+, .* is missing\.$",
        ),
        ("text_encoder", {"num_hidden_layers": 1}, r"layers\.1\.\S+ is of no layer that text_encoder/config\.json"),
    ],
)
def test_weights_of_other_layers_are_refused(parts, name, changes, sentence):
    module, told = parts[name]
    with pytest.raises(NotConvertible, match=sentence):
        module.tensors_of(Part(told.name, {**told.config, **changes}, told.tensors))


OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def older(name):
    for new, old in OLDER.items():
        name = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
    return name


def test_older_names_of_an_autoencoders_attention(parts):
    _, told = parts["vae"]
    held = {older(name): tensor for name, tensor in told.tensors.items()}
    assert held.keys() != told.tensors.keys()
    wanted, found = (autoencoder.tensors_of(Part(told.name, told.config, each)) for each in (told.tensors, held))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    with pytest.raises(
        NotConvertible, match=r"^The weight \S+\.query\.weight is there twice, under an older name, too"
    ):
        autoencoder.tensors_of(Part(told.name, told.config, {**told.tensors, **held}))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder for tests that leave it as it is."""
    return saved(tmp_path_factory.mktemp("pipeline"))


def linked(pipeline, folder, *changed):
    """A folder like another one, whose files are its own where they are to be changed."""
    for name in ("unet", "vae", "text_encoder", "scheduler", "tokenizer"):
        if name in changed:
            (folder / name).mkdir()
            for path in (pipeline / name).iterdir():
                (folder / name / path.name).write_bytes(path.read_bytes())
        else:
            (folder / name).symlink_to(pipeline / name)
    return folder


def say(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trained_betas": [0.1, 0.2]}, r"trained_betas = \[0\.1, 0\.2\], .* it must be null\.$"),
        ({"beta_start": "small"}, r'beta_start = "small", .* it must be a number above 0\.$'),
        ({"num_train_timesteps": None}, r"does not say its num_train_timesteps\.$"),
    ],
)
def test_a_noise_schedule_of_another_kind_is_refused(pipeline, tmp_path, changes, sentence):
    say(linked(pipeline, tmp_path, "scheduler") / "scheduler/scheduler_config.json", **changes)
    with pytest.raises(NotConvertible, match=rf"^scheduler/scheduler_config\.json .*{sentence}"):
        converted(tmp_path)


@pytest.mark.parametrize(
    ("changes", "kind", "zero_snr"),
    [
        ({"rescale_betas_zero_snr": False, "prediction_type": "v_prediction"}, "noise", False),
        ({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, "v", True),
        ({"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}, "noise", True),
    ],
)
def test_a_last_step_without_signal_is_marked(pipeline, tmp_path, changes, kind, zero_snr):
    """The YAML file alone says v-prediction; it has no word for the last step."""
    say(linked(pipeline, tmp_path, "scheduler") / "scheduler/scheduler_config.json", **changes)
    tensors, _ = converted(tmp_path)
    told = header.read(tmp_path / "out" / "small.safetensors")
    assert (told.kind, told.zero_snr) == (kind, zero_snr)
    assert all(tensors[name].numel() == 1 for name in {"ztsnr", "v_pred"} & tensors.keys())


@pytest.mark.parametrize("architectures", [None, 5])
def test_a_config_of_no_class_is_refused(pipeline, tmp_path, architectures):
    say(linked(pipeline, tmp_path, "text_encoder") / "text_encoder/config.json", architectures=architectures)
    with pytest.raises(NotConvertible, match=r"^text_encoder/config\.json is of (null|5), .* of a CLIPTextModel\.$"):
        converted(tmp_path)


@pytest.mark.parametrize("content", [[torch.ones(1)], {"state_dict": {"weight": torch.ones(1)}}])
def test_a_file_of_other_things_than_tensors_is_refused(pipeline, tmp_path, content):
    path = linked(pipeline, tmp_path, "vae") / "vae" / "diffusion_pytorch_model.safetensors"
    path.unlink()
    torch.save(content, path.with_suffix(".bin"))
    with pytest.raises(
        NotConvertible, match=r"^vae/diffusion_pytorch_model\.bin .* must hold tensors under their names"
    ):
        converted(tmp_path)


def test_a_missing_tokenizer_is_refused_before_anything_is_written(pipeline, tmp_path):
    (linked(pipeline, tmp_path) / "tokenizer").unlink()
    with pytest.raises(NotConvertible, match=r"^tokenizer is missing: "):
        converted(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["small.safetensors", "small.yaml", "small-text"])
def test_what_exists_is_replaced_only_by_force(pipeline, tmp_path, name):
    place = tmp_path / name
    place.mkdir() if name == "small-text" else place.write_text("mine")
    out = tmp_path / "small.safetensors"
    told = "OUT = small.safetensors" if place == out else f"{name} beside OUT"
    with pytest.raises(NotConvertible, match=rf"^{told} exists: give --force to replace it\.$"):
        write(pipeline, out)
    assert [*tmp_path.iterdir()] == [place]
    assert place.is_dir() or place.read_text() == "mine"
    write(pipeline, out, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"small.safetensors", "small.yaml", "small-text"}
    assert load_file(out)


@pytest.mark.parametrize("name", ["small.safetensors", "small.yaml"])
def test_a_folder_in_the_place_of_a_file_is_refused(pipeline, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(NotConvertible, match=rf"{name}.* is not allowed: it is a folder\.$"):
        write(pipeline, tmp_path / "small.safetensors", force=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_checkpoint_that_cannot_be_written_is_said(pipeline, tmp_path, monkeypatch):
    """What safetensors raises is no OSError."""

    def full(*_, **__):
        raise SafetensorError("no space left")

    monkeypatch.setattr("lib_fewstep.models.convert.checkpoint.save_file", full)
    with pytest.raises(OSError, match=r"^small\.safetensors cannot be written: no space left\.$"):
        write(pipeline, tmp_path / "small.safetensors")


def test_the_command(tmp_path, monkeypatch, capsys):
    """It says what it has written, or why it has not."""
    out = tmp_path / "out" / "small.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", str(saved(tmp_path)), str(out)])
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [str(out), str(out.with_suffix(".yaml"))]
    assert main() == 1
    assert capsys.readouterr().err.startswith("not converted: OUT = small.safetensors exists: give --force")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--force"])
    assert main() == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["convert", str(tmp_path), str(tmp_path / "small.ckpt")])
    assert main() == 1
    assert capsys.readouterr().err == "not converted: OUT = small.ckpt is not allowed: it must end in .safetensors.\n"


def test_weights_that_torch_has_written(tmp_path):
    """Older folders have them."""
    folder = saved(tmp_path)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    wanted, _ = converted(folder)
    path.unlink()
    found, _ = converted(folder, force=True)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
