#!/usr/bin/env python3
"""Every scheduler class of diffusers that starts from noise, in its saved default form and with each key changed alone:
tests/golden/schedulers/samples.json. And tests/cases/clip_sample by diffusers: clip.safetensors.

A case is a scheduler_config.json (the class's saved form and what is changed), a number of steps and the samples that diffusers' own
set_timesteps, scale_model_input and step make of the noise in the file. The network is exact for data from N(MEAN, 0.5^2), but like
any network it knows only its input and the timestep that it is told, so a wrong level, timestep or input shows in the samples.
Schedulers that draw noise are given that of vane's generator (src/base/random.c) for seed 0, so their samples compare one by one.

Left out is what diffusers itself refuses or makes no numbers of (printed), and what vane refuses by name, which
tests/sample/test_scheduler.c lists.

    python tests/golden/schedulers.py        # needs torch, diffusers 0.42.1, numpy, scipy
"""
import importlib
import json
import math
import pathlib
import sys
import types
import warnings

import diffusers
import numpy as np
import torch
from safetensors.torch import load_file, save_file

sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))  # only for noise, which is vane's here
DPMSolverSDEScheduler = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde").DPMSolverSDEScheduler
warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

HERE = pathlib.Path(__file__).parent / "schedulers"
MEAN, VARIANCE = np.array([0.9, -1.1, 0.2, 1.4]), 0.25
ROWS, SIZE = 2, len(MEAN)
NOISE = np.random.default_rng(11).standard_normal((ROWS, SIZE)).astype(np.float32).astype(np.float64)
STEPS = (10, 17)  # one below and one above the 15 from which DPM-Solver no longer falls in order; 17 does not divide 1000

# ---- vane's noise -------------------------------------------------------------------------------------------------------


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def normals(step, draw):
    """Box and Muller on the words of one block, for each row."""
    out = np.zeros((ROWS, SIZE))
    for row in range(ROWS):
        words = philox([0, 3 << 24 | step * 128 + draw, row, 0], [0, 0])
        for pair in range(2):
            u, bits = (words[2 * pair] >> 1 | 1) * 2.0**-31, words[2 * pair + 1]
            rest = (bits << 2) & 0xFFFFFFFF
            rest -= (rest >= 1 << 31) << 32
            angle = (bits >> 30) * math.pi / 2 + rest * (math.pi / 2) * 2.0**-32
            out[row, 2 * pair:2 * pair + 2] = math.sqrt(-2 * math.log(u)) * np.array([math.cos(angle), math.sin(angle)])
    return image(out)


def image(x):
    return torch.from_numpy(x)[..., None, None]


class Brownian:
    """Of DPM-Solver++(SDE): the noise of a step's first half, then that of the whole."""

    def __init__(self, *_, **__):
        self.calls = 0

    def __call__(self, sigma, to):
        step, whole = divmod(self.calls, 2)
        self.calls += 1
        if not whole:
            self.middle = float(to)
            return normals(step, 0)
        q = (float(sigma) - self.middle) / (float(sigma) - float(to))
        return math.sqrt(q) * normals(step, 0) + math.sqrt(1 - q) * normals(step, 1)


# ---- the network --------------------------------------------------------------------------------------------------------


def posterior(x, a, s):
    """E[x0|x]"""
    return MEAN + a * VARIANCE / (a * a * VARIANCE + s * s) * (x - a * MEAN)


class Network:
    def __init__(self, scheduler):
        self.scheduler, c = scheduler, scheduler.config
        self.type = c.get("prediction_type", "flow_prediction")
        self.kind = "edm" if "EDM" in type(scheduler).__name__ else (
            "flow" if "FlowMatch" in type(scheduler).__name__ or c.get("use_flow_sigmas") else "ddpm")
        if self.kind == "ddpm":
            bar = scheduler.alphas_cumprod.double().numpy()
            with np.errstate(divide="ignore"):
                self.log_ratio = 0.5 * np.log((1 - bar) / bar)

    def level(self, t):
        if self.kind == "edm":
            return 1, math.exp(4 * t)
        if self.kind == "flow":
            return 1 - t / 1000, t / 1000
        r = math.exp(np.interp(t, np.arange(len(self.log_ratio)), self.log_ratio))
        if math.isinf(r):
            return 0, 1
        return 1 / math.sqrt(1 + r * r), r / math.sqrt(1 + r * r)

    def __call__(self, x, t):
        a, s = self.level(float(t))
        x = x.double().numpy()[..., 0, 0]
        if self.kind == "edm":
            sd = self.scheduler.config.sigma_data
            x = x * math.sqrt(s * s + sd * sd)
            x0 = posterior(x, a, s)
            raw = (x0 - sd * sd / (s * s + sd * sd) * x) * math.sqrt(s * s + sd * sd) / (s * sd)
        else:
            x0 = posterior(x, a, s)
            eps = (x - a * x0) / s if s > 0 else 0 * x
            raw = {"epsilon": eps, "sample": x0, "v_prediction": a * eps - s * x0, "flow_prediction": eps - x0}[self.type]
        return image(raw)


def sample(scheduler, steps, mu):
    module = importlib.import_module(type(scheduler).__module__)
    drawn = [0]

    def draw(*_, **__):
        drawn[0] += 1
        return normals(drawn[0] - 1, 0)

    for name, put in [("randn_tensor", draw), ("BrownianTreeNoiseSampler", Brownian)]:
        if hasattr(module, name):
            setattr(module, name, put)
    scheduler.set_timesteps(steps, **({"mu": mu} if mu is not None else {}))
    if "DEIS" in type(scheduler).__name__:
        scheduler.sigmas = scheduler.sigmas.double()  # its coefficients cancel in float32
    network = Network(scheduler)
    x = image(NOISE) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    times = scheduler.timesteps
    for i, t in enumerate(times):
        told = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        more = {}
        if "UnCLIP" in type(scheduler).__name__ and i + 1 < len(times):
            more["prev_timestep"] = times[i + 1]
        x = scheduler.step(network(told, t), t, x, **more).prev_sample.double()
    return x.numpy()[..., 0, 0]


# ---- the cases ------------------------------------------------------------------------------------------------------------

BETAS = [dict(beta_start=0.0003), dict(beta_end=0.015), dict(beta_schedule="scaled_linear"),
         dict(beta_schedule="linear"), dict(beta_schedule="squaredcos_cap_v2"), dict(num_train_timesteps=800)]
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
SPACING = [dict(timestep_spacing=s) for s in ("leading", "linspace", "trailing")]
OFFSET = [dict(steps_offset=1), dict(timestep_spacing="leading", steps_offset=1)]
CLIP = [dict(clip_sample=True), dict(clip_sample=False), dict(clip_sample=True, clip_sample_range=0.8)]
THRESHOLD = [dict(thresholding=True), dict(thresholding=True, sample_max_value=1.3),
             dict(thresholding=True, sample_max_value=1.3, dynamic_thresholding_ratio=0.5),
             dict(dynamic_thresholding_ratio=0.5), dict(sample_max_value=1.3)]
ZERO = [dict(rescale_betas_zero_snr=True, **V)]
NOISES = [dict(use_karras_sigmas=True), dict(use_exponential_sigmas=True), dict(use_beta_sigmas=True)]
NOISES_OF = [dict(n, timestep_spacing=s, steps_offset=1) for n in NOISES for s in ("leading", "trailing")]
FLOW = [dict(use_flow_sigmas=True, prediction_type="flow_prediction"),
        dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0), dict(flow_shift=3.0),
        dict(use_flow_sigmas=True, prediction_type="sample")]
LAST = [dict(final_sigmas_type="sigma_min")]
STABLE = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)  # as Stable Diffusion's are
SOLVER = [dict(solver_order=1), dict(solver_order=3), dict(lower_order_final=False)]
DPM = SOLVER + [dict(solver_type="heun"), dict(lambda_min_clipped=-5.1),
                dict(lambda_min_clipped=-3.0, timestep_spacing="leading"), dict(variance_type=None)]
TYPES = [V, X0]
# k-diffusion's kind holds x/alpha, which on the cosine schedule begins at 20,000, where float32 has no digits left for a second stage
K = BETAS[:4] + BETAS[5:] + [dict(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading")] + SPACING + OFFSET + NOISES + NOISES_OF + [V]
CASES = {
    "DDPMScheduler": BETAS + SPACING + OFFSET + CLIP + THRESHOLD + ZERO + TYPES + [
        dict(beta_schedule="sigmoid"), dict(beta_schedule="laplace"), dict(variance_type="fixed_small_log"), dict(variance_type="fixed_large"),
        dict(variance_type="fixed_large", timestep_spacing="trailing"),
        dict(variance_type="fixed_large", timestep_spacing="leading", steps_offset=1)],
    "DDPMParallelScheduler": SPACING + CLIP,
    "DDIMScheduler": BETAS + SPACING + OFFSET + CLIP + THRESHOLD + ZERO + TYPES + [
        dict(set_alpha_to_one=False), dict(set_alpha_to_one=False, clip_sample=False),
        dict(STABLE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", **V)],
    "DDIMParallelScheduler": SPACING + CLIP,
    "PNDMScheduler": BETAS + SPACING + OFFSET + [dict(set_alpha_to_one=True), dict(skip_prk_steps=True),
                                                 dict(STABLE, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1)]
    + [dict(skip_prk_steps=True, timestep_spacing=s) for s in ("linspace", "trailing")],
    "UnCLIPScheduler": [dict(num_train_timesteps=800), dict(clip_sample=False), dict(clip_sample_range=0.8), X0],
    "LCMScheduler": BETAS + SPACING + OFFSET + CLIP + THRESHOLD + ZERO + TYPES + [
        dict(original_inference_steps=100), dict(set_alpha_to_one=False)],
    "TCDScheduler": BETAS + SPACING + OFFSET + CLIP + THRESHOLD + ZERO + TYPES + [
        dict(original_inference_steps=100), dict(set_alpha_to_one=False), dict(timestep_scaling=5.0)],
    "EulerDiscreteScheduler": K + LAST + ZERO + [X0, dict(use_karras_sigmas=True, sigma_min=0.05), dict(sigma_max=12.0),
                                                 dict(use_exponential_sigmas=True, sigma_max=12.0, sigma_min=0.1),
                                                 dict(use_karras_sigmas=True, **LAST[0]), dict(timestep_type="continuous"),
                                                 dict(use_karras_sigmas=True, sigma_min=0.05, **LAST[0]),
                                                 *[dict(n, **LAST[0]) for n in NOISES_OF],
                                                 dict(STABLE, timestep_spacing="leading", steps_offset=1),
                                                 dict(use_karras_sigmas=True, interpolation_type="log_linear")],
    "EulerAncestralDiscreteScheduler": BETAS + SPACING + OFFSET + ZERO + [V],
    "HeunDiscreteScheduler": K + [X0, dict(beta_schedule="exp")] + CLIP,
    "LMSDiscreteScheduler": K + [X0],
    "KDPM2DiscreteScheduler": K,
    "KDPM2AncestralDiscreteScheduler": K,
    "DPMSolverSDEScheduler": K + [dict(noise_sampler_seed=3)],
    "DPMSolverMultistepScheduler": BETAS + SPACING + OFFSET + NOISES + THRESHOLD + ZERO + TYPES + LAST + FLOW + DPM + [
        dict(use_lu_lambdas=True), dict(euler_at_final=True), dict(euler_at_final=True, **LAST[0]),
        dict(lower_order_final=False, **LAST[0]), dict(euler_at_final=True, lower_order_final=False, **LAST[0]),
        dict(algorithm_type="dpmsolver", **LAST[0]), dict(algorithm_type="dpmsolver", thresholding=True, **LAST[0]),
        dict(algorithm_type="sde-dpmsolver++"), dict(algorithm_type="sde-dpmsolver++", solver_type="heun"),
        dict(algorithm_type="sde-dpmsolver++", **LAST[0]),
        dict(algorithm_type="sde-dpmsolver++", lower_order_final=False, **LAST[0]),
        dict(algorithm_type="sde-dpmsolver++", euler_at_final=True, **LAST[0]),
        dict(algorithm_type="sde-dpmsolver++", euler_at_final=True, lower_order_final=False, **LAST[0]),
        dict(use_karras_sigmas=True, **LAST[0]), dict(use_lu_lambdas=True, beta_schedule="squaredcos_cap_v2"),
        dict(use_karras_sigmas=True, beta_schedule="squaredcos_cap_v2"), dict(use_dynamic_shifting=True)],
    "DPMSolverSinglestepScheduler": BETAS + NOISES + THRESHOLD + TYPES + LAST + FLOW + DPM[:5] + [
        dict(lower_order_final=True), dict(lower_order_final=True, **LAST[0]), dict(solver_order=3, **LAST[0]),
        dict(algorithm_type="dpmsolver", **LAST[0])],
    "DEISMultistepScheduler": BETAS + SPACING + OFFSET + NOISES + THRESHOLD + TYPES + FLOW + SOLVER,
    "UniPCMultistepScheduler": BETAS + SPACING + OFFSET + NOISES + THRESHOLD + ZERO + TYPES + LAST + FLOW + SOLVER[:2] + [
        dict(solver_type="bh1", **LAST[0]), dict(lower_order_final=False, **LAST[0]),
        dict(use_karras_sigmas=True, sigma_min=0.05, sigma_max=12.0), dict(use_karras_sigmas=True, **LAST[0]),
        dict(FLOW[1], shift_terminal=0.1003), dict(FLOW[0], **LAST[0])],
    "SASolverScheduler": BETAS + SPACING + OFFSET + NOISES + THRESHOLD + TYPES + FLOW + [
        dict(predictor_order=3), dict(corrector_order=1), dict(predictor_order=1, corrector_order=3),
        dict(lower_order_final=False), dict(lambda_min_clipped=-5.1)],
    "FlowMatchEulerDiscreteScheduler": NOISES + [
        dict(shift=3.0), dict(use_dynamic_shifting=True), dict(use_dynamic_shifting=True, base_shift=0.9, max_shift=2.0),
        dict(use_dynamic_shifting=True, base_image_seq_len=64, max_image_seq_len=900, time_shift_type="linear"),
        dict(base_shift=0.9), dict(max_shift=2.0), dict(base_image_seq_len=64), dict(max_image_seq_len=900),
        dict(shift_terminal=0.1), dict(shift_terminal=0.1, use_dynamic_shifting=True), dict(time_shift_type="linear"),
        dict(stochastic_sampling=True), dict(use_karras_sigmas=True, shift=3.0)],
    "FlowMatchHeunDiscreteScheduler": [dict(shift=3.0)],
    "FlowMatchLCMScheduler": NOISES + [dict(shift=3.0), dict(shift_terminal=0.1), dict(use_dynamic_shifting=True),
                                       dict(upscale_mode="nearest")],
    "EDMEulerScheduler": [dict(sigma_min=0.01), dict(sigma_max=50.0), dict(sigma_data=1.0), dict(rho=5.0),
                          dict(sigma_schedule="exponential"), dict(num_train_timesteps=500), *LAST],
    "EDMDPMSolverMultistepScheduler": [dict(sigma_min=0.01), dict(sigma_max=50.0), dict(sigma_data=1.0), dict(rho=5.0),
                                       dict(sigma_schedule="exponential"), dict(num_train_timesteps=500), *LAST, *SOLVER,
                                       dict(solver_type="heun"), dict(algorithm_type="sde-dpmsolver++"),
                                       dict(euler_at_final=True)] + THRESHOLD,
}
TOKENS = 400  # of the image that use_dynamic_shifting is for


def shift_of(c):
    """calculate_shift of diffusers' pipelines."""
    slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
    return c.base_shift + slope * (TOKENS - c.base_image_seq_len)


def saved(scheduler):
    """What save_pretrained writes."""
    return json.loads(scheduler.to_json_string())


def cases_of(name):
    cls = DPMSolverSDEScheduler if name == "DPMSolverSDEScheduler" else getattr(diffusers, name)
    default, cases = saved(cls()), []
    for change in [{}] + CASES[name]:
        for steps in STEPS:
            try:
                scheduler = cls(**change)
                mu = shift_of(scheduler.config) if change.get("use_dynamic_shifting") and "Flow" in name else None
                config = saved(scheduler)
                x = sample(scheduler, steps, mu)
            except Exception as error:
                print(name, change, steps, "is not for diffusers:", str(error)[:80])
                continue
            if not np.isfinite(x).all():
                print(name, change, steps, "is not finite in diffusers")
                continue
            cases.append(dict(change={k: v for k, v in config.items() if v != default.get(k)}, steps=steps,
                              x=[float(f"{v:.7g}") for v in x.ravel()]))
    return dict(config=default, cases=cases)


def clipped():
    """tests/cases/clip_sample by diffusers' own network and DDIMScheduler: clip.safetensors."""
    case = pathlib.Path(__file__).parents[1] / "cases/clip_sample"
    network = diffusers.UNet2DModel.from_pretrained(case / "unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(case / "scheduler", timestep_spacing="trailing")
    x = load_file(case / "noise.safetensors")["noise"]
    scheduler.set_timesteps(10)
    for t in scheduler.timesteps:
        with torch.no_grad():
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
    save_file({"samples": x}, HERE / "clip.safetensors")


if __name__ == "__main__":
    clipped()
    HERE.mkdir(exist_ok=True)
    classes = [cases_of(name) for name in CASES]
    with open(HERE / "samples.json", "w") as out:
        out.write(json.dumps(dict(mean=MEAN.tolist(), variance=VARIANCE, tokens=TOKENS, noise=NOISE.tolist()))[:-1])
        out.write(', "classes": [\n')
        for i, c in enumerate(classes):
            out.write('{"config": ' + json.dumps(c["config"]) + ', "cases": [\n')
            out.write(",\n".join(json.dumps(x, separators=(",", ":")) for x in c["cases"]))
            out.write("\n]}" + (",\n" if i + 1 < len(classes) else "\n"))
        out.write("]}\n")
    print(sum(len(c["cases"]) for c in classes), "cases")
