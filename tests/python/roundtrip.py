"""Models go both ways between vane and diffusers, tensor for tensor. Run by `./check --python`.

    python roundtrip.py PROGRAM

1. A run that vane trained loads with UNet2DModel.from_pretrained and gives the same output as `vane forward`.
2. A model that diffusers saved gives the same output and gradients in vane, for several configurations.
3. A pipeline that diffusers saved gives the same samples in vane, from the same noise.
4. A run that learned a variance loads too, and its scheduler, diffusers' DDPMScheduler, takes vane's steps.

Prints a line `ok - ...` or `not ok - ...` for each; the exit status is 0 only if all hold.
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file, save_file

OUTPUT_TOLERANCE, GRADIENT_TOLERANCE, SAMPLE_TOLERANCE, NOISE_TOLERANCE = 1e-5, 3e-5, 1e-4, 5e-6  # relative norms

PLAIN = dict(
    sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=8,
)
CONFIGURATIONS = {
    "plain": PLAIN,
    "with classes": {**PLAIN, "num_class_embeds": 5},
    "three channels, two layers a block": {**PLAIN, "in_channels": 3, "out_channels": 3, "layers_per_block": 2},
    "scale and shift, resnet sampling": {
        **PLAIN, "resnet_time_scale_shift": "scale_shift", "downsample_type": "resnet", "upsample_type": "resnet",
    },
    "Fourier times": {**PLAIN, "time_embedding_type": "fourier"},
}  # fmt: skip

failures = 0


def holds(what: str, condition: bool, detail: str = "") -> None:
    global failures
    print(f"{'ok' if condition else 'not ok'} - {what}{f' ({detail})' if detail else ''}")
    failures += not condition


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def write_idx(folder: Path, count: int = 64, side: int = 16) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 3
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(header + array.tobytes())


def inputs_for(model: UNet2DModel, batch: int = 2) -> dict[str, torch.Tensor]:
    c = model.config
    torch.manual_seed(1)
    size = c.sample_size if isinstance(c.sample_size, (list, tuple)) else (c.sample_size, c.sample_size)
    inputs = {"sample": torch.randn(batch, c.in_channels, *size), "timestep": torch.tensor([3.0, 700.0])}
    if c.num_class_embeds:
        inputs["class_labels"] = torch.tensor([1, 2])
    return inputs


class Vane:
    def __init__(self, program: str, folder: Path):
        self.program, self.folder = program, folder

    def __call__(self, *words: object) -> None:
        subprocess.run([self.program, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)

    def forward(self, model: Path, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        names = [self.folder / f"{n}.safetensors" for n in ("in", "out", "grad")]
        save_file(inputs, names[0])
        self("forward", model, "--in", names[0], "--out", names[1], "--grad", names[2])
        return load_file(names[1])["sample"], load_file(names[2])


def compare(vane: Vane, what: str, directory: Path, model: UNet2DModel) -> None:
    inputs = inputs_for(model)
    inputs["sample"].requires_grad_()
    expected = model(**inputs).sample
    cotangent = torch.randn_like(expected)
    (expected * cotangent).sum().backward()
    saved = {k: v.detach() for k, v in inputs.items()} | {"cotangent": cotangent}
    output, gradients = vane.forward(directory, saved)
    error = distance(output, expected.detach())
    holds(f"{what}: same output", error < OUTPUT_TOLERANCE, f"{error:.1e}")
    wanted = {"grad.sample": inputs["sample"].grad}
    wanted |= {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    holds(f"{what}: a gradient for every parameter", wanted.keys() <= gradients.keys())
    worst = max((distance(gradients[k], g) for k, g in wanted.items() if k in gradients and g.norm() > 1e-5))
    holds(f"{what}: same gradients", worst < GRADIENT_TOLERANCE, f"worst {worst:.1e}")


def from_vane(vane: Vane) -> None:
    write_idx(vane.folder / "data")
    run = vane.folder / "run"
    vane("train", vane.folder / "data", "--out", run, "--steps", 3, "--batch", 8, "--preview-every", -1)
    model = UNet2DModel.from_pretrained(run / "unet", low_cpu_mem_usage=False).eval()
    compare(vane, "a run of vane in diffusers", run, model)


def from_diffusers(vane: Vane) -> None:
    for name, config in CONFIGURATIONS.items():
        torch.manual_seed(2)
        model = UNet2DModel(**config).eval()
        directory = vane.folder / name.replace(" ", "-")
        model.save_pretrained(directory)
        compare(vane, f"diffusers' model in vane, {name}", directory, model)


def pipeline_from_diffusers(vane: Vane, steps: int = 10) -> None:
    torch.manual_seed(3)
    model = UNet2DModel(**PLAIN).eval()
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True)
    directory = vane.folder / "pipeline"
    DDIMPipeline(model, scheduler).save_pretrained(directory)

    noise = torch.randn(3, 1, 16, 16)
    save_file({"noise": noise}, vane.folder / "noise.safetensors")
    out = vane.folder / "samples.safetensors"
    vane("sample", directory, "--noise", vane.folder / "noise.safetensors", "--sampler", "ddim", "--grid", "trailing",
         "--steps", steps, "--out", out)  # fmt: skip

    scheduler.set_timesteps(steps)
    x = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample
    error = distance(load_file(out)["samples"], x)
    holds("a pipeline of diffusers samples the same in vane", error < SAMPLE_TOLERANCE, f"{error:.1e}")


def step_with(scheduler: DDPMScheduler, noise: float, *step: torch.Tensor) -> torch.Tensor:
    """diffusers' step with this for its noise."""
    scheduling_ddpm.randn_tensor = lambda shape, **_: torch.full(shape, noise)
    return scheduler.step(*step).prev_sample


def learned_variance(vane: Vane, steps: int = 10) -> None:
    run, out = vane.folder / "learned", vane.folder / "trace.safetensors"
    vane("train", vane.folder / "data", "--out", run, "--steps", 20, "--batch", 8, "--preview-every", -1,
         "--path", "ddpm:cosine", "--predict", "v", "--objective", "hybrid")  # fmt: skip
    model = UNet2DModel.from_pretrained(run / "unet", low_cpu_mem_usage=False).eval()
    compare(vane, "a run that learned a variance in diffusers", run, model)
    vane("sample", run, "-n", 3, "--sampler", "ddpm", "--grid", "trailing", "--steps", steps, "--trace", "--out", out)
    learned = load_file(out)["trace"]
    vane("sample", run, "-n", 3, "--sampler", "ddpm:variance=small", "--grid", "trailing", "--steps", steps, "--trace",
         "--out", out)  # fmt: skip
    small = load_file(out)["trace"]

    # the noise in every step of both walks, as diffusers' schedulers would have needed it: it must be the same
    noise = {}
    for trace, kind in ((learned, None), (small, "fixed_small")):
        scheduler = DDPMScheduler.from_pretrained(run / "scheduler")
        if kind is None:
            holds("its scheduler is told of it", scheduler.config.variance_type == "learned_range")
        else:
            scheduler = DDPMScheduler.from_config(scheduler.config, variance_type=kind)
        scheduler.set_timesteps(steps)
        for k, t in enumerate(scheduler.timesteps[:-1]):  # the last step has none
            with torch.no_grad():
                output = model(trace[k], t, class_labels=torch.tensor([0, 1, 2])).sample
            output = output[:, :1] if kind else output
            mean, more = (step_with(scheduler, z, output, t, trace[k]) for z in (0.0, 1.0))
            noise.setdefault(k, []).append((trace[k + 1] - mean) / (more - mean))
    worst = max(distance(*pair) for pair in noise.values())
    apart = distance(learned[-1], small[-1])
    holds("its steps are diffusers' with learned_range", worst < NOISE_TOLERANCE and apart > 0.01, f"worst {worst:.1e}")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        vane = Vane(str(Path(sys.argv[1]).resolve()), Path(folder))
        from_vane(vane)
        from_diffusers(vane)
        pipeline_from_diffusers(vane)
        learned_variance(vane)
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
