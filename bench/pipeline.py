#!/usr/bin/env python3
"""Example: python3 bench/pipeline.py --python bench/.venv/bin/python --size 512

Makes a StableDiffusionPipeline with random weights, of Stable Diffusion 1.5's own size (--scale quarter: a quarter of
its width), and samples from it with vane and with diffusers, by turns, from the same noise. Prints what a step (two
passes of the U-Net, for guidance) and a whole run of one step take, the most memory that each process held, what
`vane info` had planned, and how far the latents and pictures are apart.

A step is the difference between the quickest runs of few steps and of more, divided by how many more. diffusers computes in float32
unless --compute says otherwise; vane always does, whatever the type of the weights in the files (--dtype).
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
TOKENIZER = BENCH.parent / "tests" / "golden" / "text" / "clip-sd1"
PROMPT, GUIDANCE = "a red fox in the snow", 7.5
CHANNELS, FACTOR = 4, 8  # of latents
DTYPES = "float16", "bfloat16", "float32"

UNET = {
    "sample_size": 64, "in_channels": CHANNELS, "out_channels": CHANNELS, "layers_per_block": 2, "attention_head_dim": 8,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
VAE = {
    "sample_size": 512, "in_channels": 3, "out_channels": 3, "latent_channels": CHANNELS, "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
TEXT = {
    "vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "bos_token_id": 49406, "eos_token_id": 49407,
}  # fmt: skip
SCALES = {
    "full": (
        {**UNET, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768},
        {**VAE, "block_out_channels": [128, 256, 512, 512]},
        {**TEXT, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
    "quarter": (
        {**UNET, "block_out_channels": [80, 160, 320, 320], "norm_num_groups": 16, "cross_attention_dim": 192},
        {**VAE, "block_out_channels": [32, 64, 128, 128]},
        {**TEXT, "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
}
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- in Python, in processes of their own -------------------------------------------------------------------------


def tokenizer_of(folder):
    """One of small vocabulary, whose ids the text encoder knows."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, model_max_length=77)
    tokenizer.save_pretrained(folder)


def make(spec):
    """Part by part, so that never more than one of them is in memory."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder, dtype = Path(spec["folder"]), getattr(torch, spec["dtype"])
    unet, vae, text = SCALES[spec["scale"]]
    torch.manual_seed(0)
    counts = {}
    for name, part in (
        ("unet", lambda: UNet2DConditionModel(**unet)),
        ("vae", lambda: AutoencoderKL(**vae)),
        ("text_encoder", lambda: CLIPTextModel(CLIPTextConfig(**text))),
    ):
        model = part().to(dtype)
        counts[name] = sum(p.numel() for p in model.parameters())
        model.save_pretrained(folder / name)
        del model
    tokenizer_of(folder / "tokenizer")
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": False}
    for name, library, kind in (
        ("unet", "diffusers", "UNet2DConditionModel"), ("vae", "diffusers", "AutoencoderKL"),
        ("text_encoder", "transformers", "CLIPTextModel"), ("tokenizer", "transformers", "CLIPTokenizer"),
        ("scheduler", "diffusers", "DDIMScheduler"), ("safety_checker", None, None), ("feature_extractor", None, None),
    ):  # fmt: skip
        index[name] = [library, kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    print(json.dumps(counts))


def noise(spec):
    import torch
    from safetensors.torch import save_file

    height, width = spec["size"]
    generator = torch.Generator().manual_seed(1)
    save_file({"noise": torch.randn(1, CHANNELS, height // FACTOR, width // FACTOR, generator=generator)}, spec["noise"])


def draw(spec):
    """As somebody's script would: opened, sampled, saved."""
    import torch
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(spec["threads"])
    pipe = StableDiffusionPipeline.from_pretrained(spec["folder"], torch_dtype=getattr(torch, spec["compute"]), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    seen, decode = {}, pipe.vae.decode

    def watched(z, *args, **kwargs):
        out = decode(z, *args, **kwargs)
        seen["z"], seen["picture"] = z, out[0] if isinstance(out, tuple) else out.sample
        return out

    pipe.vae.decode = watched
    height, width = spec["size"]
    latents = load_file(spec["noise"])["noise"].to(pipe.unet.dtype)
    pipe(PROMPT, height=height, width=width, num_inference_steps=spec["steps"], guidance_scale=GUIDANCE, latents=latents, output_type="pt")
    latents = seen["z"].float() * pipe.vae.config.scaling_factor
    save_file({"latents": latents, "samples": seen["picture"].float().contiguous()}, spec["out"])


def apart(spec):
    """Of latents and pictures, relative to their norm."""
    from safetensors.torch import load_file

    found, expected = (load_file(spec[key]) for key in ("found", "expected"))
    print(json.dumps({k: ((found[k] - expected[k]).norm() / expected[k].norm()).item() for k in ("latents", "samples")}))


JOBS = {"make": make, "noise": noise, "draw": draw, "apart": apart}


def job(args, name, **spec):
    """Runs one of them: what it printed, the seconds it took and the most memory it held, in MB."""
    threads = str(args.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    return timed([args.python, str(Path(__file__).resolve()), "--job", json.dumps({"job": name, **spec})], environment)


def timed(command, environment=None):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0), err.seek(0)
        if process.returncode:
            lines = err.read().strip().splitlines()
            sys.exit(f"pipeline: {' '.join(command[:3])} ...: {lines[-1] if lines else process.returncode}")
        return out.read(), seconds, usage.ru_maxrss * 1024e-6


# ---- by turns -----------------------------------------------------------------------------------------------------


def vane_draws(args, folder, steps, noise_file, out):
    size = f"{args.size[0]}x{args.size[1]}"
    command = [args.vane, "sample", folder, "--prompt", PROMPT, "--guidance", str(GUIDANCE), "--steps", str(steps), "--size", size,
               "--noise", noise_file, "--threads", str(args.threads), "--quiet", "--overwrite", "--out", out]  # fmt: skip
    return timed(command)[1:]


def planned(args, folder):
    return json.loads(timed([args.vane, "info", folder, "--json"])[0])


def compare(args, folder, work):
    """Seconds of runs of few and of more steps, and the most memory, of each."""
    noise_file = os.path.join(work, "noise.safetensors")
    job(args, "noise", size=args.size, noise=noise_file)
    outs = {who: os.path.join(work, who + ".safetensors") for who in ("vane", "diffusers")}

    def diffusers_draws(steps):
        return job(args, "draw", folder=folder, size=args.size, steps=steps, noise=noise_file, out=outs["diffusers"],
                   threads=args.threads, compute=args.compute)[1:]  # fmt: skip

    turns = {"vane": lambda steps: vane_draws(args, folder, steps, noise_file, outs["vane"]), "diffusers": diffusers_draws}
    found = {who: {"few": [], "more": [], "mb": 0} for who in turns}
    few, more = args.steps
    for i in range(args.rounds):
        for name, steps in (("few", few), ("more", more)):
            for who, turn in turns.items():
                seconds, mb = turn(steps)
                found[who][name].append(seconds)
                found[who]["mb"] = max(found[who]["mb"], mb)
                say(f"round {i + 1} of {args.rounds}: {who}, {steps} step{'s' if steps > 1 else ''}: {seconds:.1f} s, {mb:.0f} MB")
    errors = json.loads(job(args, "apart", found=outs["vane"], expected=outs["diffusers"])[0])
    return found, errors


def table(args, found, errors, plan, weights_mb):
    few, more = args.steps
    step = {who: (min(f["more"]) - min(f["few"])) / (more - few) for who, f in found.items()}
    whole = {who: min(f["few"]) for who, f in found.items()}
    print(f"| {args.scale}, {args.dtype}, {args.size[0]}x{args.size[1]} | vane | diffusers | ratio |")
    print("|---|---|---|---|")
    for name, row in ((f"a step, s", step), (f"a run of {few} step{'s' if few > 1 else ''}, s", whole)):
        print(f"| {name} | {row['vane']:.2f} | {row['diffusers']:.2f} | {row['diffusers'] / row['vane']:.2f} |")
    mb = {who: f["mb"] for who, f in found.items()}
    print(f"| most memory, MB | {mb['vane']:.0f} | {mb['diffusers']:.0f} | {mb['diffusers'] / mb['vane']:.2f} |")
    parts = ", ".join(
        f"{p['part']} {p['weights_mb']:.0f} + {p['pass_mb']:.0f}" + (f" in parts of {p['in_parts_of']}" if "in_parts_of" in p else "")
        for p in plan["parts"]
    )
    side = plan["latents"][1] * FACTOR
    print(f"\nvane info planned {plan['memory_mb']:.0f} MB for {side}x{side} (weights + passes: {parts}); the files of weights have "
          f"{weights_mb:.0f} MB.")  # fmt: skip
    print(f"After {more} steps the latents are {errors['latents']:.1e} of their norm apart, the pictures {errors['samples']:.1e}.")


def weights_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors")) * 1e-6


# ---- the command --------------------------------------------------------------------------------------------------


def size_of(text):
    sides = [int(side) for side in text.split("x")]
    if len(sides) > 2 or min(sides) < 64 or any(side % 64 for side in sides):
        raise argparse.ArgumentTypeError("S or HxW, multiples of 64")
    return sides * 2 if len(sides) == 1 else sides


def steps_of(text):
    few, more = (int(n) for n in text.split(","))
    if not 0 < few < more:
        raise argparse.ArgumentTypeError("FEW,MORE")
    return few, more


def parse():
    about, _, rest = __doc__.partition("\n\n")
    p = argparse.ArgumentParser(description=f"{about}\n\n{rest}", formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scale", choices=SCALES, default="full", help="of the networks (full)")
    p.add_argument("--dtype", choices=DTYPES, default="float16", help="of the weights in the files (float16)")
    p.add_argument("--compute", choices=DTYPES, default="float32", help="what diffusers computes in (float32)")
    p.add_argument("--size", type=size_of, default=[512, 512], metavar="S|HxW", help="of the picture, in pixels (512)")
    p.add_argument("--steps", type=steps_of, default=(1, 3), metavar="FEW,MORE", help="of the runs (1,3)")
    p.add_argument("--rounds", type=int, default=1, help="turns of each (1)")
    p.add_argument("--threads", type=int, help="of each (default: one a core that this process may use)")
    p.add_argument("--folder", help="where the pipeline is, or is made where there is none (a temporary one)")
    p.add_argument("--vane", default=str(BENCH.parent / "build" / "vane"), help="the program (build/vane)")
    p.add_argument("--python", default=str(BENCH / ".venv" / "bin" / "python"),
                   help="an interpreter that has torch, diffusers and transformers (bench/.venv, which compare.py --install makes)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the numbers as one JSON object")
    p.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    args = parse()
    if args.job:
        return JOBS[args.job.pop("job")](args.job)
    args.threads = args.threads or len(os.sched_getaffinity(0))
    for program in args.python, args.vane:
        if not shutil.which(program):
            sys.exit(f"pipeline: there is no {program}")
    with tempfile.TemporaryDirectory() as work:
        folder = args.folder or os.path.join(work, "pipeline")
        if not os.path.exists(os.path.join(folder, "model_index.json")):
            os.makedirs(folder, exist_ok=True)
            say(f"making {folder}")
            say(job(args, "make", folder=folder, scale=args.scale, dtype=args.dtype)[0].strip())
        plan = planned(args, folder)
        found, errors = compare(args, folder, work)
        if args.json:
            print(json.dumps({"runs": found, "apart": errors, "planned": plan, "weights_mb": weights_of(folder)}, indent=1))
        else:
            table(args, found, errors, plan, weights_of(folder))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
