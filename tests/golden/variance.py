#!/usr/bin/env python3
"""The variational bound of Improved DDPM (2102.09672), with its gradients, in float64: tests/golden/variance/bound.json.

Written after the paper and its formulas: the posterior of DDPM, the learned range of the variance, the discretised Gaussian
decoder with its code's approximation of the normal distribution. The mean is detached, so that the bound trains the variance
alone. Each case has the step, the data x0 (values of 8-bit pictures, those at both ends among them), the noise, what a network
would answer (the prediction and v), the terms T L_t [N] in bits a coordinate, and the gradients of
mean square + lambda T L_t by the prediction and by v.

trajectories.json beside it holds trajectories of diffusers' DDPMScheduler(variance_type="learned_range") on the mixture
of sampler.py with v = cos(3 x + t + label), vane's noise being put in as in sampler_stochastic.py. Their last step has none: beta~
is 0 there, which diffusers raises to 1e-20, so that its learned range has some where the last timestep is not 0.

    python tests/golden/variance.py      # needs torch, diffusers 0.42.1, numpy
"""
import json
import math
import pathlib

import numpy as np
import torch
from diffusers import DDPMScheduler

HERE = pathlib.Path(__file__).parent
SHAPE = (2, 2, 3)  # a picture: rows, columns, channels; channels last
LAMBDA = 0.001


def alpha_bars(schedule, steps):
    """As diffusers rounds them, so that what is compared is the bound."""
    name = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule]
    return DDPMScheduler(num_train_timesteps=steps, beta_schedule=name).alphas_cumprod.double().numpy()


def cdf(x):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def decoder(x0, mean, log_variance):
    """-log p(x0) of bins of 2/255."""
    inverse = torch.exp(-0.5 * log_variance)
    upper, lower = inverse * (x0 - mean + 1 / 255), inverse * (x0 - mean - 1 / 255)
    middle = torch.log((cdf(upper) - cdf(lower)).clamp(min=1e-12))
    return -torch.where(x0 < -0.999, torch.log(cdf(upper).clamp(min=1e-12)),
                        torch.where(x0 > 0.999, torch.log((1 - cdf(lower)).clamp(min=1e-12)), middle))


def case(schedule, steps, predict, step, seed, wild=1.0):
    rng = np.random.default_rng(seed)
    tensor = lambda a: torch.tensor(np.asarray(a, np.float32).astype(np.float64))
    bar = alpha_bars(schedule, steps)
    before = np.append(1, bar[:-1])
    beta = 1 - bar / before
    posterior = beta * (1 - before) / (1 - bar)
    clipped = np.append(posterior[1], posterior[1:])
    alpha, sigma = math.sqrt(bar[step]), math.sqrt(1 - bar[step])

    pixels = rng.integers(0, 256, SHAPE)
    pixels.flat[0], pixels.flat[1] = 0, 255
    x0, eps = tensor(pixels / 127.5 - 1), tensor(rng.standard_normal(SHAPE))
    x = alpha * x0 + sigma * eps
    target = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[predict]
    prediction = (target + tensor(wild * 0.3 * rng.standard_normal(SHAPE))).float().double().requires_grad_()
    v = tensor(rng.uniform(-1.3, 1.3, SHAPE)).requires_grad_()

    raw = prediction.detach()
    guess = {"eps": (x - sigma * raw) / alpha, "x0": raw, "v": alpha * x - sigma * raw}[predict]
    to_x0, to_x = beta[step] * math.sqrt(before[step]) / (1 - bar[step]), (1 - before[step]) * math.sqrt(
        1 - beta[step]) / (1 - bar[step])
    mean, truth = to_x0 * guess + to_x * x, to_x0 * x0 + to_x * x
    share = (v + 1) / 2
    log_variance = share * math.log(beta[step]) + (1 - share) * math.log(clipped[step])
    if step == 0:
        term = decoder(x0, mean, log_variance)
    else:
        log_true = math.log(clipped[step])
        term = 0.5 * (-1 + log_variance - log_true + torch.exp(log_true - log_variance) +
                      (truth - mean) ** 2 * torch.exp(-log_variance))
    bound = term.mean() / math.log(2) * steps
    loss = ((prediction - target) ** 2).mean() + LAMBDA * bound
    loss.backward()
    flat = lambda a: [float(f) for f in a.detach().flatten()]
    return {"schedule": schedule, "T": steps, "predict": predict, "step": step, "x0": flat(x0), "eps": flat(eps),
            "prediction": flat(prediction), "v": flat(v), "bound": bound.item(), "loss": loss.item(),
            "by_prediction": flat(prediction.grad), "by_v": flat(v.grad)}


def bounds():
    cases = []
    for schedule, steps in (("linear", 1000), ("cosine", 50)):
        for predict in ("eps", "x0", "v"):
            for step in (0, 0, 1, 2, steps // 2, steps - 1):
                if predict == "eps" and schedule == "cosine" and step == steps - 1:
                    continue  # alpha is 1e-3 there
                cases.append(case(schedule, steps, predict, step, len(cases), wild=0.02 if predict == "x0" and step == 0 else 1))
    return {"shape": SHAPE, "lambda": LAMBDA, "cases": cases}


def trajectories():
    import sampler
    import sampler_stochastic as noisy
    from diffusers.schedulers import scheduling_ddpm

    cases = []
    for schedule, predict, spacing, steps, gamma in (("linear", "eps", "trailing", 20, 1), ("cosine", "v", "trailing", 12, 1),
                                                     ("linear", "eps", "linspace", 10, 2), ("scaled-linear", "x0", "trailing", 30, 2)):
        name, start, end = sampler.BETAS[schedule]
        scheduler = DDPMScheduler(beta_schedule=name, beta_start=start, beta_end=end, variance_type="learned_range",
                                  clip_sample=False, prediction_type=sampler.TYPES[predict], timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        bar = scheduler.alphas_cumprod.double().numpy()
        label = 1
        first = math.sqrt(1 - bar[scheduler.timesteps[0]])
        x = sampler.NOISE * first
        for k, t in enumerate(scheduler.timesteps):
            alpha, sigma = math.sqrt(bar[t]), math.sqrt(1 - bar[t])
            raw = sampler.output(predict, x, sampler.guided(x, alpha, sigma, label, gamma), alpha, sigma)
            v = np.cos(3 * x + (int(t) + 1) / 1000 + label)
            noisy.feed(scheduling_ddpm, k)
            if k == steps - 1:
                scheduling_ddpm.randn_tensor = lambda *a, **kw: torch.zeros(x.shape, dtype=torch.float64)
            both = torch.cat([sampler.tensor(raw), sampler.tensor(v)], 1)
            x = scheduler.step(both, int(t), sampler.tensor(x)).prev_sample.double().numpy()
        cases.append({"path": f"ddpm:{schedule}", "predict": predict, "grid": spacing, "steps": steps, "label": label,
                      "gamma": gamma, "x": x.tolist()})
    return {"noise": sampler.NOISE.tolist(), "cases": cases}


if __name__ == "__main__":
    (HERE / "variance").mkdir(exist_ok=True)
    (HERE / "variance" / "bound.json").write_text(json.dumps(bounds()) + "\n")
    (HERE / "variance" / "trajectories.json").write_text(json.dumps(trajectories()) + "\n")
