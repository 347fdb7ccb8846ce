#!/usr/bin/env python3
"""Pipelines of diffusers 0.42 with small random parts against `vane sample`: latents and pictures.

    pipeline_random.py --vane build/vane [--count 40] [--seed 0] [--only StableDiffusionPipeline]
    pipeline_random.py --write          writes pipeline/: one of each class, and what diffusers draws with it

A case draws a class of pipeline, the configs of its parts, a scheduler (the class's own, or another), prompts, guidance, size and
steps, saves the pipeline, lets diffusers' own program sample from given noise, and compares what it gave to its autoencoder and
what that made of it. The bound is 1e-3 of the norm, of both. `steps` beside an error is what a change of 1e-6 in the noise comes
to: random networks under strong guidance are not smooth, so a case is wrong past the bound and past ten times that.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler, DEISMultistepScheduler, DiTPipeline, DiTTransformer2DModel,
                       DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler,
                       FlowMatchHeunDiscreteScheduler, FluxPipeline, FluxTransformer2DModel, HeunDiscreteScheduler, LMSDiscreteScheduler,
                       PNDMScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel, UniPCMultistepScheduler)
from diffusers.pipelines.dit import pipeline_dit
from safetensors.torch import load_file, save_file
from transformers import (AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config,
                          T5EncoderModel)

transformers.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
BOUND = 1e-3
PROMPTS = ["a photo of a cat on a mat", "two small green circles left of a large blue square", "", "The quick BROWN fox  jumps!",
           "un château près de la forêt", "it's what they've said " * 40, "🙂 symbols: € £", "red"]


# ---- parts


def lively(model, seed):
    """Weights that do something everywhere, by the seed."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            scale = 0.1 if p.dim() == 1 else 0.4 / p[0].numel() ** 0.5
            p.add_(torch.randn(p.shape, generator=g) * scale)
    return model.eval()


def clip_tokenizer(name):
    folder = os.path.join(HERE, "text", name)  # of vocab.json and merges.txt alone nothing says the class
    kind = AutoTokenizer if os.path.exists(os.path.join(folder, "tokenizer_config.json")) else CLIPTokenizer
    return kind.from_pretrained(folder, model_max_length=77)


def t5_tokenizer():
    return AutoTokenizer.from_pretrained(os.path.join(HERE, "text", "t5"))


def clip(r, tokenizer, projection, width=None):
    heads = r.choice([1, 2])
    width = width or heads * r.choice([6, 8, 12])
    config = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=r.choice([1, 2, 3]),
                            num_attention_heads=heads if width % heads == 0 else 1, max_position_embeddings=77,
                            hidden_act=r.choice(["quick_gelu", "gelu"]), projection_dim=r.choice([8, 12]),
                            eos_token_id=r.choice([2, tokenizer.eos_token_id]), bos_token_id=tokenizer.bos_token_id,
                            pad_token_id=tokenizer.pad_token_id)
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    return lively(kind(config), r.randrange(1 << 30))


def t5(r, tokenizer, width):
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=r.choice([4, 6]), d_ff=2 * width, num_layers=2, num_heads=2,
                      feed_forward_proj=r.choice(["relu", "gated-gelu"]))
    return lively(T5EncoderModel(config), r.randrange(1 << 30))


def vae(r, channels, **more):
    levels = r.choice([2, 3])
    if r.random() < 0.15 and not more:
        return lively(AutoencoderTiny(encoder_block_out_channels=(8,) * levels, decoder_block_out_channels=(8,) * levels,
                                      num_encoder_blocks=(1,) * levels, num_decoder_blocks=(1,) * levels, latent_channels=channels),
                      r.randrange(1 << 30))
    widths = tuple(r.choice([4, 8]) for _ in range(levels))
    return lively(AutoencoderKL(block_out_channels=widths, down_block_types=("DownEncoderBlock2D",) * levels,
                                up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=1, norm_num_groups=r.choice([2, 4]),
                                latent_channels=channels, scaling_factor=r.choice([0.18215, 0.13025, 1.5305]), **more),
                  r.randrange(1 << 30))


def unet(r, text_width, **more):
    levels = r.choice([2, 3])
    widths = tuple(r.choice([8, 16]) for _ in range(levels))
    cross = [r.random() < 0.6 for _ in range(levels)]
    cross[0] = cross[0] or not any(cross)
    down = tuple("CrossAttnDownBlock2D" if c else "DownBlock2D" for c in cross)
    up = tuple("CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(cross))
    return lively(UNet2DConditionModel(sample_size=r.choice([8, 12]), in_channels=4, out_channels=4, block_out_channels=widths,
                                       down_block_types=down, up_block_types=up, layers_per_block=1, cross_attention_dim=text_width,
                                       attention_head_dim=r.choice([2, 4]), norm_num_groups=4,
                                       use_linear_projection=r.random() < 0.5, **more), r.randrange(1 << 30))


# ---- schedulers


def ddpm_scheduler(r, own):
    """own: as the first checkpoints of such pipelines have it."""
    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    kinds = [(PNDMScheduler, dict(skip_prk_steps=True)), (DDIMScheduler, dict(set_alpha_to_one=False, clip_sample=r.random() < 0.5)),
             (EulerDiscreteScheduler, dict(timestep_spacing=r.choice(["leading", "linspace", "trailing"]))),
             (DPMSolverMultistepScheduler, dict(use_karras_sigmas=r.random() < 0.5)), (UniPCMultistepScheduler, {}),
             (LMSDiscreteScheduler, {}), (HeunDiscreteScheduler, {}), (DEISMultistepScheduler, {}), (DPMSolverSinglestepScheduler, {})]
    kind, keys = kinds[0] if own else r.choice(kinds[1:])
    predict = "epsilon" if kind is PNDMScheduler else r.choice(["epsilon", "v_prediction"])
    if kind is not DPMSolverSinglestepScheduler:
        keys["steps_offset"] = r.choice([0, 1])
    return kind(**betas, prediction_type=predict, **keys)


# ---- pipelines: the object, what is given to its call beside noise and steps


def stable_diffusion(r, own):
    tokenizer = clip_tokenizer("clip-sd1" if own else r.choice(["clip-sd2", "clip-files"]))
    text = clip(r, tokenizer, False)
    pipe = StableDiffusionPipeline(vae=vae(r, 4), text_encoder=text, tokenizer=tokenizer, unet=unet(r, text.config.hidden_size),
                                   scheduler=ddpm_scheduler(r, own), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    return pipe, {}, pipe.unet.config.sample_size, 2 ** (len(pipe.unet.config.block_out_channels) - 1)


def stable_diffusion_xl(r, own):
    first, second = clip_tokenizer("clip-sd1"), clip_tokenizer("clip")
    text, text_2 = clip(r, first, False), clip(r, second, True)
    alone = r.random() < 0.2
    width = text_2.config.hidden_size + (0 if alone else text.config.hidden_size)
    net = unet(r, width, addition_embed_type="text_time", addition_time_embed_dim=8,
               projection_class_embeddings_input_dim=6 * 8 + text_2.config.projection_dim)
    moments = dict(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.1, 0.9, 1.3, 0.7]) if r.random() < 0.3 else {}
    pipe = StableDiffusionXLPipeline(vae=vae(r, 4, **moments), text_encoder=None if alone else text, text_encoder_2=text_2,
                                     tokenizer=None if alone else first, tokenizer_2=second, unet=net,
                                     scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                                                      timestep_spacing="leading", steps_offset=1)
                                     if own else ddpm_scheduler(r, False),
                                     force_zeros_for_empty_prompt=r.random() < 0.6, add_watermarker=False)
    return pipe, {}, net.config.sample_size, 2 ** (len(net.config.block_out_channels) - 1)


def stable_diffusion_3(r, own):
    first, second, third = clip_tokenizer("clip-sd1"), clip_tokenizer("clip"), t5_tokenizer()
    text, text_2 = clip(r, first, True), clip(r, second, True)
    width = text.config.hidden_size + text_2.config.hidden_size + r.choice([0, 4])
    missing = r.random() < 0.25
    net = lively(SD3Transformer2DModel(sample_size=r.choice([8, 12]), patch_size=2, in_channels=16, out_channels=16, num_layers=r.choice([1, 2]),
                                       attention_head_dim=8, num_attention_heads=2, joint_attention_dim=width, caption_projection_dim=16,
                                       pooled_projection_dim=text.config.projection_dim + text_2.config.projection_dim, pos_embed_max_size=16,
                                       dual_attention_layers=r.choice([(), (0,)]), qk_norm=r.choice([None, "rms_norm"])), r.randrange(1 << 30))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0) if own else r.choice([
        FlowMatchHeunDiscreteScheduler(shift=3.0), FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)])
    pipe = StableDiffusion3Pipeline(transformer=net, scheduler=scheduler, vae=vae(r, 16, shift_factor=r.choice([0.0, 0.0609]), use_quant_conv=False,
                                                                                  use_post_quant_conv=False),
                                    text_encoder=text, tokenizer=first, text_encoder_2=text_2, tokenizer_2=second,
                                    text_encoder_3=None if missing else t5(r, third, width), tokenizer_3=None if missing else third)
    return pipe, {}, net.config.sample_size, 2


def flux(r, own):
    first, second = clip_tokenizer("clip-sd1"), t5_tokenizer()
    text, width = clip(r, first, False), r.choice([12, 16])
    net = lively(FluxTransformer2DModel(patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
                                        num_attention_heads=2, joint_attention_dim=width, pooled_projection_dim=text.config.hidden_size,
                                        guidance_embeds=r.random() < 0.6, axes_dims_rope=(4, 6, 6)), r.randrange(1 << 30))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64) \
        if own else FlowMatchEulerDiscreteScheduler(shift=r.choice([1.0, 3.0]))
    pipe = FluxPipeline(scheduler=scheduler, vae=vae(r, 4, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
                        text_encoder=text, tokenizer=first, text_encoder_2=t5(r, second, width), tokenizer_2=second, transformer=net)
    return pipe, {}, r.choice([8, 12]), 2


def dit(r, own):
    learns = r.random() < 0.7
    net = lively(DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8 if learns else 4, num_layers=2,
                                       sample_size=r.choice([4, 8]), patch_size=2, num_embeds_ada_norm=1000, norm_num_groups=4),
                 r.randrange(1 << 30))
    scheduler = DDIMScheduler(clip_sample=False) if own else r.choice([
        DPMSolverMultistepScheduler(), DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), UniPCMultistepScheduler()])
    pipe = DiTPipeline(transformer=net, vae=vae(r, 4), scheduler=scheduler, id2label={"0": "tench, Tinca tinca", "1": "goldfish", "7": "cock"})
    return pipe, {}, net.config.sample_size, 2


CLASSES = {"StableDiffusionPipeline": stable_diffusion, "StableDiffusionXLPipeline": stable_diffusion_xl,
           "StableDiffusion3Pipeline": stable_diffusion_3, "FluxPipeline": flux, "DiTPipeline": dit}


# ---- what diffusers draws


def draw(pipe, noise, steps, size, how):
    """Latents as the network sees them, and the decoded picture, not clamped."""
    seen = {}
    decode = pipe.vae.decode

    def watched(z, *args, **kwargs):
        out = decode(z, *args, **kwargs)
        seen["z"], seen["picture"] = z, out[0] if isinstance(out, tuple) else out.sample
        return out

    pipe.vae.decode = watched
    pipe.set_progress_bar_config(disable=True)
    config = pipe.vae.config
    call = dict(num_inference_steps=steps, output_type="pt", **how)
    if not isinstance(pipe, DiTPipeline):
        latents = noise
        if isinstance(pipe, FluxPipeline):
            latents = pipe._pack_latents(noise, *noise.shape)
        call |= dict(latents=latents, height=size[0], width=size[1])
    else:
        pipeline_dit.randn_tensor = lambda *_, **__: noise
    try:
        with torch.no_grad():
            pipe(**call)
    finally:
        pipe.vae.decode = decode
    z = seen["z"] - (getattr(config, "shift_factor", None) or 0)
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        z = (z - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    return z * config.scaling_factor, seen["picture"]


def relative(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-12)).item()


# ---- a case


def prepare(name, r, own):
    """A pipeline, what is given to diffusers' call, the noise, and the flags that say the same to vane."""
    pipe, how, latent, multiple = CLASSES[name](r, own)
    pipe.vae.eval()
    factor = pipe.vae_scale_factor if hasattr(pipe, "vae_scale_factor") else 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    n, steps, flags = r.choice([1, 2, 3]), r.choice([2, 3, 5, 8]), []
    size = [latent, latent]
    given = name == "FluxPipeline" or (name != "DiTPipeline" and r.random() < 0.5)  # Flux's own size is too large for a test
    if given:
        if name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):  # their check of 8 pixels
            multiple = max(multiple, 8 // factor)
        size = [multiple * r.randint(2, 8 // multiple + 3) for _ in range(2)]
        size = [min(s, 16) for s in size]
        flags += ["--size", f"{size[0] * factor}x{size[1] * factor}"]
    elif name == "StableDiffusion3Pipeline":
        size = [latent, latent]
    channels = 16 if name == "StableDiffusion3Pipeline" else 4
    noise = torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(r.randrange(1 << 30)))
    if name == "DiTPipeline":
        labels = [r.choice([0, 1, 7, 42, 999]) for _ in range(n)]
        guidance = r.choice([1.0, 2.5, 4.0])
        how |= dict(class_labels=labels, guidance_scale=guidance)
        flags += ["--class", ",".join(map(str, labels)), "--guidance", str(guidance)]
    else:
        prompts = [r.choice(PROMPTS) for _ in range(n)]
        how |= dict(prompt=prompts)
        for p in prompts:
            flags += ["--prompt", p]
        negative = r.choice([None, None, "", "a red cat"])
        if name == "FluxPipeline":
            embeds = pipe.transformer.config.guidance_embeds
            if r.random() < 0.5:  # true CFG
                negative = negative or ""
                told, scale = r.choice([3.5, 2.0]), r.choice([1.5, 3.0])
                how |= dict(true_cfg_scale=scale, negative_prompt=[negative] * n, guidance_scale=told)
                flags += ["--guide", "cfg", "--guidance", str(scale), "--negative", negative]
                flags += ["--embedded-guidance", str(told)] if embeds and told != 3.5 else []
                how["guidance_scale"] = told if embeds else 3.5
            elif embeds:
                guidance = r.choice([1.0, 3.5, 5.0])
                how |= dict(guidance_scale=guidance)
                flags += ["--guidance", str(guidance)] if guidance != 3.5 else []
        else:
            guidance = r.choice([1.0, 2.0, 5.0, 7.5])
            how |= dict(guidance_scale=guidance)
            flags += ["--guidance", str(guidance)]
            if negative is not None and guidance > 1:
                how |= dict(negative_prompt=[negative] * n)
                flags += ["--negative", negative]
    return pipe, noise, steps, [s * factor for s in size], how, flags


def save(pipe, dtype, folder):
    """Weights of 16 bits are computed with in 32, as vane does; what is no weight is not rounded."""
    if dtype is torch.float32:
        pipe.save_pretrained(folder)
        return pipe
    pipe.to(dtype)
    pipe.save_pretrained(folder)
    more = {k: v for k, v in pipe.components.items() if v is None}  # else diffusers asks for it
    more |= dict(add_watermarker=False) if isinstance(pipe, StableDiffusionXLPipeline) else {}
    return type(pipe).from_pretrained(folder, torch_dtype=torch.float32, **more)


def vane(program, folder, noise, steps, flags, out):
    save_file({"noise": noise.contiguous()}, out + ".noise.safetensors")
    command = [program, "sample", folder, "--noise", out + ".noise.safetensors", "--steps", str(steps), "--out", out, *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    return (load_file(out), "") if done.returncode == 0 else (None, done.stderr.strip())


def one(program, name, seed, own):
    r = random.Random(f"{name} {seed} {own}")
    pipe, noise, steps, size, how, flags = prepare(name, r, own)
    dtype = r.choice([torch.float32] * 4 + [torch.bfloat16, torch.float16])
    with tempfile.TemporaryDirectory() as folder:
        saved = os.path.join(folder, "pipeline")
        pipe = save(pipe, dtype, saved)
        z, picture = draw(pipe, noise, steps, size, how)
        near = draw(pipe, noise * (1 + 1e-6), steps, size, how)
        found, error = vane(program, saved, noise, steps, flags, os.path.join(folder, "out.safetensors"))
    text = f"{type(pipe.scheduler).__name__} {str(dtype)[6:]} {steps} steps {size} {' '.join(flags)[:160]}"
    if found is None:
        return f"REFUSED  {error}\n    {text}", False, (0, 0)
    if found["latents"].shape != z.shape or found["samples"].shape != picture.shape:
        return f"SHAPES   {tuple(found['samples'].shape)} for {tuple(picture.shape)}\n    {text}", False, (0, 0)
    errors = relative(found["latents"], z), relative(found["samples"], picture)
    own_errors = relative(near[0], z), relative(near[1], picture)
    good = all(e < max(BOUND, 10 * o) for e, o in zip(errors, own_errors))
    return (f"{'ok' if good else 'WRONG':6} latents {errors[0]:.1e} ({own_errors[0]:.1e}) picture {errors[1]:.1e} ({own_errors[1]:.1e}) {text}",
            good, errors)


# ---- the tree's own


def tiny(name):
    """As small as it can be, of one case of the class whose parts are all there."""
    seed = 0
    while True:
        r = random.Random(f"tiny {name} {seed}")
        made = prepare(name, r, True)
        pipe, noise, steps, size, how, flags = made
        numbers = sum(p.numel() for k, m in pipe.components.items() if hasattr(m, "parameters") for p in m.parameters())
        guided = how.get("guidance_scale", 0) > 1
        whole = getattr(pipe, "text_encoder", 1) is not None and getattr(pipe, "text_encoder_3", 1) is not None
        embeds = name != "FluxPipeline" or (pipe.transformer.config.guidance_embeds and "true_cfg_scale" not in how)
        if numbers < 120000 and guided and whole and embeds and len(noise) == 2 and steps >= 3 and isinstance(pipe.vae, AutoencoderKL):
            return made
        seed += 1


def write(names):
    """A folder of each class without its tokenizers, which are those of text/; and drawn.safetensors, with the flags as metadata."""
    top = os.path.join(HERE, "pipeline")
    for name in names:
        shutil.rmtree(os.path.join(top, name), ignore_errors=True)
        pipe, noise, steps, size, how, flags = tiny(name)
        folder = os.path.join(top, name)
        pipe = save(pipe, torch.bfloat16, folder)
        z, picture = draw(pipe, noise, steps, size, how)
        for k in os.listdir(folder):
            if k.startswith("tokenizer"):
                shutil.rmtree(os.path.join(folder, k))
        texts = json.dumps(how.get("prompt", how.get("class_labels")))
        save_file({"noise": noise.contiguous(), "latents": z.contiguous(), "samples": picture.contiguous()},
                  os.path.join(folder, "drawn.safetensors"),
                  metadata={"steps": str(steps), "guidance": str(how["guidance_scale"]), "conditions": texts,
                            "negative": json.dumps((how.get("negative_prompt") or [None])[0]), "size": f"{size[0]}x{size[1]}"})
        print(name, flags, sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(folder) for f in fs), "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vane", metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=8, help="cases of each class, half of them with its own scheduler")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="classes, with commas")
    parser.add_argument("--write", action="store_true")
    a = parser.parse_args()
    names = a.only.split(",") if a.only else list(CLASSES)
    if a.write:
        return write(names)
    torch.set_num_threads(2)
    bad, total, largest = 0, 0, [0.0, 0.0]
    for name in names:
        for i in range(a.count):
            line, good, errors = one(a.vane, name, a.seed + i, i % 2 == 0)
            bad, total = bad + (not good), total + 1
            largest = [max(pair) for pair in zip(largest, errors)]
            print(f"{name} {a.seed + i:4} {line}", flush=True)
    print(f"{total - bad} of {total} right; latents off by {largest[0]:.1e} at most, pictures by {largest[1]:.1e}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
