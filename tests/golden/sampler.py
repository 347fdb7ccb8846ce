#!/usr/bin/env python3
"""Trajectories of diffusers' schedulers on an exact mixture of Gaussians: tests/golden/sampler/*.json.

The mixture and its denoiser are written here in numpy (float64), from the definition alone; the schedulers are diffusers' own,
except k-diffusion's Heun, which is written out. Each case names what vane should be told (path, prediction, sampler, grid or
sigmas, steps, class, guidance), the unit noise it begins with and the samples that come out.

Stochastic samplers draw other noise than vane, so their cases hold each step's coefficients instead, found by probing the
scheduler's step, which is linear: x' = a x + b x0 + c noise.

diffusers keeps x/alpha in float32, so levels with sigma/alpha in the thousands (cosine's first) are left out where that would be
what is measured.

    python tests/golden/sampler.py        # needs torch, diffusers 0.42.1, numpy
"""
import json
import pathlib
import warnings

import numpy as np
import torch
import diffusers
from diffusers.schedulers import scheduling_ddpm, scheduling_ddim

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

HERE = pathlib.Path(__file__).parent / "sampler"
WORLD = {
    "classes": [
        {"name": "a", "components": [
            {"weight": 0.7, "mean": [-1.0, 0.4], "cov": [[0.10, 0.03], [0.03, 0.20]]},
            {"weight": 0.3, "mean": [0.5, -0.8], "std": 0.25}]},
        {"name": "b", "components": [{"mean": [1.1, 0.9], "cov": [[0.30, -0.15], [-0.15, 0.12]]}]},
    ],
    "class_weights": [0.4, 0.6],
}
NOISE = np.random.default_rng(7).standard_normal((3, 2)).astype(np.float32).astype(np.float64)
BETAS = {"linear": ("linear", 1e-4, 0.02), "scaled-linear": ("scaled_linear", 0.00085, 0.012),
         "cosine": ("squaredcos_cap_v2", 1e-4, 0.02)}
TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def components(label):
    classes = WORLD["classes"]
    prior = np.array(WORLD["class_weights"]) / sum(WORLD["class_weights"])
    chosen = range(len(classes)) if label is None else [label]
    for k in chosen:
        total = sum(c.get("weight", 1) for c in classes[k]["components"])
        for c in classes[k]["components"]:
            mean = np.array(c["mean"])
            cov = np.array(c["cov"]) if "cov" in c else c["std"] ** 2 * np.eye(len(mean))
            yield (prior[k] if label is None else 1) * c.get("weight", 1) / total, mean, cov


def denoise(x, alpha, sigma, label):
    """E[x0|x] for rows x, x = alpha x0 + sigma eps."""
    logs, means = [], []
    for weight, mean, cov in components(label):
        total = alpha**2 * cov + sigma**2 * np.eye(len(mean))
        error = x - alpha * mean
        solved = np.linalg.solve(total, error.T).T
        logs.append(np.log(weight) - 0.5 * np.log(np.linalg.det(total)) - 0.5 * (error * solved).sum(1))
        means.append(mean + alpha * solved @ cov)
    logs = np.array(logs)
    weights = np.exp(logs - logs.max(0))
    return ((weights / weights.sum(0))[..., None] * np.array(means)).sum(0)


def guided(x, alpha, sigma, label, gamma):
    null = denoise(x, alpha, sigma, None)
    return null + gamma * (denoise(x, alpha, sigma, label) - null)


def output(predict, x, x0, alpha, sigma):
    eps = (x - alpha * x0) / sigma
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "velocity": eps - x0}[predict]


def tensor(x):
    return torch.from_numpy(np.ascontiguousarray(x))


CASES, STOCHASTIC = [], []


def add(x, **settings):
    CASES.append({**settings, "x": x.tolist()})


class Setting:
    """One case: who is asked, under which condition."""

    def __init__(self, sampler, path, predict, grid, steps, label=0, gamma=1.0):
        self.told = dict(sampler=sampler, path=path, predict=predict, grid=grid, steps=steps, label=label, gamma=gamma)
        self.label, self.gamma, self.predict = label, gamma, predict

    def x0(self, x, alpha, sigma):
        return guided(x, alpha, sigma, self.label, self.gamma)

    def run_vp(self, scheduler, steps):
        """Schedulers that work on x of unit variance and look alpha-bar up by timestep: DDIM."""
        scheduler.set_timesteps(steps)
        bar = scheduler.alphas_cumprod.double().numpy()
        first = bar[scheduler.timesteps[0]]
        x = NOISE * np.sqrt(1 - first)
        for t in scheduler.timesteps:
            alpha, sigma = np.sqrt(bar[t]), np.sqrt(1 - bar[t])
            raw = output(self.predict, x, self.x0(x, alpha, sigma), alpha, sigma)
            x = scheduler.step(tensor(raw), int(t), tensor(x)).prev_sample.numpy()
        add(x, **self.told)

    def run_ratio(self, scheduler, steps):
        """Schedulers that work on x/alpha by s = sigma/alpha: Euler, Heun."""
        scheduler.set_timesteps(steps)
        x = NOISE * float(scheduler.sigmas[0])
        for t in scheduler.timesteps:
            scheduler.scale_model_input(tensor(x), t)
            s = float(scheduler.sigmas[scheduler.step_index])
            alpha = 1 / np.sqrt(1 + s * s)
            raw = output(self.predict, alpha * x, self.x0(alpha * x, alpha, s * alpha), alpha, s * alpha)
            x = scheduler.step(tensor(raw), t, tensor(x)).prev_sample.double().numpy()
        last = float(scheduler.sigmas[-1])
        add(x / np.sqrt(1 + last * last), **self.told)

    def run_dpm(self, scheduler, steps, told=None):
        """DPM-Solver++, which knows alpha and sigma itself."""
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)  # timesteps are rounded and may repeat
        levels = [tuple(float(v) for v in scheduler._sigma_to_alpha_sigma_t(s.double())) for s in scheduler.sigmas]
        x = NOISE * levels[0][1]
        for i, t in enumerate(scheduler.timesteps):
            alpha, sigma = levels[i]
            raw = output(self.predict, x, self.x0(x, alpha, sigma), alpha, sigma)
            x = scheduler.step(tensor(raw), t, tensor(x)).prev_sample.double().numpy()
        if told == "sigmas":
            del self.told["grid"], self.told["steps"]
            self.told["sigmas"] = [sigma for _, sigma in levels]
        add(x, **self.told)

    def run_flow(self, scheduler, **kw):
        scheduler.set_timesteps(**kw)
        x = NOISE * float(scheduler.sigmas[0])
        for t in scheduler.timesteps:
            if scheduler.step_index is None:
                scheduler._init_step_index(t)
            sigma = float(scheduler.sigmas[scheduler.step_index])
            raw = output("velocity", x, self.x0(x, 1 - sigma, sigma), 1 - sigma, sigma)
            x = scheduler.step(tensor(raw), t, tensor(x)).prev_sample.double().numpy()
        add(x, **self.told)

    def run_edm(self, scheduler, steps):
        scheduler.set_timesteps(steps)
        x = NOISE * float(scheduler.sigmas[0])
        for t in scheduler.timesteps:
            scheduler.scale_model_input(tensor(x), t)
            s = float(scheduler.sigmas[scheduler.step_index])
            sd = 0.5
            skip, out = sd**2 / (s**2 + sd**2), s * sd / np.sqrt(s**2 + sd**2)
            raw = (self.x0(x, 1, s) - skip * x) / out
            x = scheduler.step(tensor(raw), t, tensor(x)).prev_sample.double().numpy()
        add(x, **self.told)

    def run_k_heun(self, steps):
        """Algorithm 2 of 2206.00364 without churn, as in k-diffusion's sample_heun."""
        ramp = np.linspace(0, 1, steps)
        sigmas = np.append((80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, 0)
        x = NOISE * sigmas[0]
        for s, to in zip(sigmas[:-1], sigmas[1:]):
            d = (x - self.x0(x, 1, s)) / s
            euler = x + d * (to - s)
            if to > 0:
                d2 = (euler - self.x0(euler, 1, to)) / to
                euler = x + (d + d2) / 2 * (to - s)
            x = euler
        add(x, **self.told)

    def probe(self, scheduler, steps, module, **kw):
        """Coefficients of each step: x' = a x + b x0 + c noise, by probing with unit vectors."""
        scheduler.set_timesteps(steps)
        bar = scheduler.alphas_cumprod.double().numpy()
        x, x0, noise = np.eye(3)[:, None]
        module.randn_tensor = lambda *a, **k: tensor(noise)
        rows = []
        for t in scheduler.timesteps:
            alpha, sigma = np.sqrt(bar[t]), np.sqrt(1 - bar[t])
            raw = output(self.predict, x, x0, alpha, sigma)
            moved = scheduler.step(tensor(raw), int(t), tensor(x), **kw).prev_sample.double().numpy()
            rows.append([alpha, sigma, *moved[0]])
        STOCHASTIC.append({**self.told, "rows": rows})


def ddpm_kw(schedule, predict):
    name, start, end = BETAS[schedule]
    return dict(beta_schedule=name, beta_start=start, beta_end=end, prediction_type=TYPES[predict])


def spaced(spacing):
    return dict(timestep_spacing=spacing, **(dict(steps_offset=1) if spacing == "leading" else {}))


def last(spacing):
    return dict(final_sigmas_type="sigma_min" if spacing == "leading" else "zero")


def discrete():
    d = diffusers
    for schedule, predict, spacing, steps, label, gamma in [
            ("linear", "eps", "leading", 10, 0, 1.0), ("linear", "v", "trailing", 20, 1, 2.5),
            ("scaled-linear", "x0", "leading", 20, 1, 0.0), ("scaled-linear", "eps", "trailing", 8, 0, 3.0),
            ("cosine", "v", "leading", 5, 1, 1.0), ("cosine", "v", "trailing", 10, 0, 1.5)]:
        scheduler = d.DDIMScheduler(**ddpm_kw(schedule, predict), **spaced(spacing), clip_sample=False,
                                    set_alpha_to_one=spacing != "leading")
        Setting("ddim", "ddpm:" + schedule, predict, spacing, steps, label, gamma).run_vp(scheduler, steps)
    for schedule, predict, spacing, steps, label, gamma in [
            ("linear", "eps", "linspace", 20, 0, 1.0), ("linear", "v", "leading", 10, 1, 2.0),
            ("scaled-linear", "eps", "linspace", 7, 1, 3.0), ("scaled-linear", "v", "trailing", 15, 0, 1.0),
            ("cosine", "x0", "leading", 12, 0, 0.0), ("cosine", "eps", "leading", 9, 1, 1.0)]:
        scheduler = d.EulerDiscreteScheduler(**ddpm_kw(schedule, predict), **spaced(spacing), **last(spacing))
        Setting("euler", "ddpm:" + schedule, predict, spacing, steps, label, gamma).run_ratio(scheduler, steps)
    for schedule, predict, spacing, steps, label, gamma in [
            ("linear", "eps", "linspace", 10, 0, 1.0), ("linear", "v", "trailing", 20, 1, 2.5),
            ("scaled-linear", "x0", "linspace", 6, 1, 1.0), ("scaled-linear", "eps", "trailing", 9, 0, 2.0)]:
        scheduler = d.HeunDiscreteScheduler(**ddpm_kw(schedule, predict), **spaced(spacing))
        Setting("heun", "ddpm:" + schedule, predict, spacing, steps, label, gamma).run_ratio(scheduler, steps)
    for schedule, predict, spacing, steps, label, gamma in [
            ("linear", "eps", "linspace", 10, 0, 1.0), ("linear", "v", "leading", 20, 1, 2.0),
            ("scaled-linear", "x0", "leading", 8, 1, 1.0), ("scaled-linear", "eps", "trailing", 20, 0, 2.5),
            ("cosine", "v", "linspace", 16, 1, 0.0), ("cosine", "v", "trailing", 5, 0, 1.0)]:
        scheduler = d.DPMSolverMultistepScheduler(**ddpm_kw(schedule, predict), **spaced(spacing), **last(spacing))
        Setting("dpmpp-2m", "ddpm:" + schedule, predict, spacing, steps, label, gamma).run_dpm(scheduler, steps)


def sigma_grids():
    d = diffusers
    for grid in ["karras", "exponential"]:
        kw = {f"use_{grid}_sigmas": True}
        Setting("euler", "ddpm:linear", "eps", grid, 10).run_ratio(
            d.EulerDiscreteScheduler(**ddpm_kw("linear", "eps"), **kw), 10)
        Setting("heun", "ddpm:scaled-linear", "v", grid, 8).run_ratio(
            d.HeunDiscreteScheduler(**ddpm_kw("scaled-linear", "v"), **kw), 8)
        Setting("dpmpp-2m", "ddpm:cosine", "eps", grid, 12).run_dpm(
            d.DPMSolverMultistepScheduler(**ddpm_kw("cosine", "eps"), **kw), 12)
    for order, sampler in [(1, "ddim"), (2, "dpmpp-2m")]:
        Setting(sampler, "ddpm:linear", "v", "", 9, 1, 2.0).run_dpm(
            d.DPMSolverMultistepScheduler(**ddpm_kw("linear", "v"), timestep_spacing="trailing", solver_order=order), 9,
            told="sigmas")
    Setting("dpmpp-2m", "rectified", "velocity", "", 20, 1, 2.0).run_dpm(
        d.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0), 20,
        told="sigmas")


def flows():
    d = diffusers
    Setting("euler", "rectified", "velocity", "linspace", 10, 0, 1.0).run_flow(
        d.FlowMatchEulerDiscreteScheduler(), num_inference_steps=10)
    Setting("ddim", "rectified", "velocity", "uniform:shift=3", 12, 1, 2.5).run_flow(
        d.FlowMatchEulerDiscreteScheduler(shift=3.0), sigmas=np.linspace(1, 1 / 12, 12))
    Setting("euler", "rectified", "velocity", "karras", 9, 1, 0.0).run_flow(
        d.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True), num_inference_steps=9)
    Setting("heun", "rectified", "velocity", "linspace", 8, 0, 2.0).run_flow(
        d.FlowMatchHeunDiscreteScheduler(), num_inference_steps=8)


def edm():
    Setting("euler", "edm", "edm", "karras", 16, 0, 1.0).run_edm(diffusers.EDMEulerScheduler(), 16)
    Setting("euler", "edm", "edm", "exponential", 10, 1, 2.0).run_edm(
        diffusers.EDMEulerScheduler(sigma_schedule="exponential"), 10)
    Setting("heun", "edm", "edm", "karras", 12, 0, 1.0).run_k_heun(12)
    Setting("heun", "edm", "x0", "karras", 7, 1, 3.0).run_k_heun(7)


def stochastic():
    for schedule, predict, spacing, steps, variance in [
            ("linear", "eps", "linspace", 10, "small"), ("scaled-linear", "v", "linspace", 20, "large"),
            ("cosine", "x0", "trailing", 5, "small")]:
        scheduler = diffusers.DDPMScheduler(**ddpm_kw(schedule, predict), **spaced(spacing), clip_sample=False,
                                            variance_type="fixed_" + variance)
        Setting("ddpm:variance=" + variance, "ddpm:" + schedule, predict, spacing, steps).probe(
            scheduler, steps, scheduling_ddpm)
    for schedule, predict, spacing, steps, eta in [("linear", "eps", "leading", 10, 1.0), ("cosine", "v", "trailing", 8, 0.4)]:
        scheduler = diffusers.DDIMScheduler(**ddpm_kw(schedule, predict), **spaced(spacing), clip_sample=False,
                                            set_alpha_to_one=spacing != "leading")
        Setting(f"ddim:eta={eta}", "ddpm:" + schedule, predict, spacing, steps).probe(
            scheduler, steps, scheduling_ddim, eta=eta)


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    return float(f"{value:.10g}") if isinstance(value, (float, np.floating)) else value


def write(name, value):
    (HERE / name).write_text(json.dumps(rounded(value), separators=(",", ":")).replace('},{"sampler', '},\n{"sampler') + "\n")


if __name__ == "__main__":
    discrete()
    sigma_grids()
    flows()
    edm()
    stochastic()
    HERE.mkdir(exist_ok=True)
    write("world.json", WORLD)
    write("trajectories.json", {"noise": NOISE.tolist(), "cases": CASES, "stochastic": STOCHASTIC})
    print(len(CASES), "trajectories,", len(STOCHASTIC), "stochastic")
