"""Models as diffusers and its users leave them, small, with what diffusers makes of them (tests/store, tests/api, tests/cli):

    foreign/ema       unet_ema of a training script: weights by EMAModel.save_pretrained, whose record is in config.json
    foreign/variant   a pipeline with variant="fp16" files alone, in half precision
    foreign/shards    the same in shards, which their index with the variant in its name lists
    foreign/flat      a pipeline of 2022: every part in one folder, attention under its old names
    foreign/dit       a DiT as it was saved in 2023: Transformer2DModel with all of its keys
    foreign/expected.safetensors   NAME.output of each for `sample`, `timestep`, and dit.* for the DiT's

Run: python tests/golden/foreign.py"""
import json
import os
import shutil

import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiTTransformer2DModel, Transformer2DModel, UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "foreign")
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def unet():
    return UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 4), layers_per_block=1,
                       norm_num_groups=2, attention_head_dim=4, time_embedding_dim=8,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))


def lively(model):
    """No weight at its start: those begin as ones and zeros."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.eval()


def folder(name):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def main():
    torch.manual_seed(7)
    given = {"sample": torch.randn(2, 1, 8, 8), "timestep": torch.tensor([17.0, 900.0])}
    out = dict(given)

    def expect(name, model):
        with torch.no_grad():
            out[name + ".output"] = model(given["sample"], given["timestep"]).sample.float().contiguous()

    # what a training script saves at a checkpoint, and the pipeline at its end
    model = lively(unet())
    path = folder("ema")
    DDPMPipeline(unet=model, scheduler=DDPMScheduler(clip_sample=False)).save_pretrained(path)
    ema = EMAModel(model.parameters(), model_cls=UNet2DModel, model_config=model.config, use_ema_warmup=True, power=0.75)
    lively(model)
    ema.step(model.parameters())
    ema.save_pretrained(os.path.join(path, "checkpoint-1", "unet_ema"))
    shutil.rmtree(os.path.join(path, "unet"))
    expect("ema", UNet2DModel.from_pretrained(os.path.join(path, "checkpoint-1", "unet_ema")))

    pipeline = DDPMPipeline(unet=lively(unet()).half(), scheduler=DDPMScheduler(clip_sample=False))
    pipeline.save_pretrained(folder("variant"), variant="fp16")
    expect("variant", UNet2DModel.from_pretrained(os.path.join(HERE, "variant", "unet"), variant="fp16"))
    lively(unet()).bfloat16().save_pretrained(folder("shards"), variant="bf16", max_shard_size="8KB")
    expect("shards", UNet2DModel.from_pretrained(os.path.join(HERE, "shards"), variant="bf16"))

    path, model = folder("flat"), lively(unet())
    DDPMPipeline(unet=model, scheduler=DDPMScheduler(clip_sample=False)).save_pretrained(path)
    for part, names in (("unet", ("config.json",)), ("scheduler", ("scheduler_config.json",))):
        for file in names:
            shutil.move(os.path.join(path, part, file), os.path.join(path, file))
        shutil.rmtree(os.path.join(path, part))
    tensors = {}
    for name, value in model.state_dict().items():
        for now, old in OLD.items():
            name = name.replace(f".{now}.", f".{old}.") if ".attentions." in name else name
        tensors[name] = value.contiguous()
    save_file(tensors, os.path.join(path, "diffusion_pytorch_model.safetensors"), metadata={"format": "pt"})
    expect("flat", DDPMPipeline.from_pretrained(path).unet)

    path = folder("dit")
    keys = dict(num_attention_heads=2, attention_head_dim=4, in_channels=1, out_channels=2, num_layers=2, sample_size=4,
                patch_size=2, activation_fn="gelu-approximate", attention_bias=True, num_embeds_ada_norm=3,
                norm_type="ada_norm_zero", norm_elementwise_affine=False)
    model = lively(DiTTransformer2DModel(**keys))
    model.save_pretrained(path)
    old = {k: v for k, v in Transformer2DModel(**keys).config.items() if k[0] != "_"}
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump({"_class_name": "Transformer2DModel", "_diffusers_version": "0.15.0", **old}, f, indent=2, sort_keys=True)
        f.write("\n")
    model = Transformer2DModel.from_pretrained(path)
    assert type(model) is DiTTransformer2DModel
    out["dit.sample"], out["dit.class_labels"] = torch.randn(2, 1, 4, 4), torch.tensor([2, 3])
    with torch.no_grad():
        out["dit.output"] = model(out["dit.sample"], timestep=given["timestep"].long(),
                                  class_labels=out["dit.class_labels"]).sample
    case = os.path.join(HERE, "..", "..", "cases", "old_attention_names", "unet")
    expect("case", UNet2DModel.from_pretrained(case))
    save_file(out, os.path.join(HERE, "expected.safetensors"))


if __name__ == "__main__":
    main()
