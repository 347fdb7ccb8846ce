"""A UNet2DModel case: a config, random weights and inputs, and what diffusers makes of them.

Shared by unet2d.py (the golden set) and random_case.py (as many random configs as you like); parts of it serve dit.py too.
Needs torch, diffusers and safetensors; made with torch 2.13.0 (CPU) and diffusers 0.42.1.
"""

import json

import diffusers
import torch
from diffusers import UNet2DModel

diffusers.utils.logging.set_verbosity_error()


def build(config, seed, kind=UNet2DModel):
    """The model with every weight random, so that none hides behind a zero or a one."""
    torch.manual_seed(seed)
    model = kind(**config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    return model


def inputs(model, batch, height, width, seed):
    g = torch.Generator().manual_seed(seed + 1)
    c = model.config
    given = {"sample": torch.randn(batch, c.in_channels, height, width, generator=g)}
    if c.time_embedding_type == "learned":
        given["timestep"] = torch.randint(0, c.num_train_timesteps, (batch,), generator=g)
    elif c.time_embedding_type == "fourier" or seed % 2:
        given["timestep"] = 0.01 + 990 * torch.rand(batch, generator=g) ** 3
    else:
        given["timestep"] = torch.randint(1, 1000, (batch,), generator=g)
    labels = class_labels(model, batch, g)
    if labels is not None:
        given["class_labels"] = labels
    return given


def class_labels(model, batch, g):
    c = model.config
    if c.class_embed_type == "identity":
        return torch.randn(batch, c.time_embedding_dim or 4 * c.block_out_channels[0], generator=g)
    if c.class_embed_type == "timestep":
        if c.time_embedding_type == "learned":
            return torch.randint(0, c.num_train_timesteps, (batch,), generator=g)
        return torch.randint(1, 50, (batch,), generator=g).float()
    if c.num_class_embeds is not None:
        return torch.randint(0, c.num_class_embeds, (batch,), generator=g)
    return None


ARRAYS = "encoder_hidden_states", "pooled_projections"  # inputs beside the sample that gradients are taken by


def run(model, given, cotangent=None, dtype=torch.float32):
    """Output and gradients of sum(cotangent * output), as {"sample": ..., "grad.sample": ..., "grad.<name>": ...}."""
    model = model.to(dtype)
    for p in model.parameters():
        p.grad = None
    x = given["sample"].detach().clone().to(dtype).requires_grad_()
    rest = {k: v for k, v in given.items() if k not in ("sample", "cotangent")}
    if rest.get("class_labels") is not None and rest["class_labels"].ndim == 2:
        rest["class_labels"] = rest["class_labels"].to(dtype)
    arrays = {k: v.detach().clone().to(dtype).requires_grad_() for k, v in rest.items() if k in ARRAYS}
    y = model(x, **rest | arrays).sample
    if cotangent is None:
        cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    (y * cotangent.to(dtype)).sum().backward()
    out = {"cotangent": cotangent, "sample": y.detach(), "grad.sample": x.grad}
    for name, p in [*arrays.items(), *model.named_parameters()]:
        if p.requires_grad:
            out["grad." + name] = torch.zeros_like(p) if p.grad is None else p.grad
    return {k: v.float().clone() if k != "cotangent" else v for k, v in out.items()}


def relative(a, b):
    """Norm of the difference over the norm of b."""
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm().clamp_min(1e-30)).item()


def config_text(model):
    """config.json as save_pretrained writes it."""
    return json.dumps(json.loads(model.to_json_string()), indent=2) + "\n"
