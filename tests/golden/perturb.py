#!/usr/bin/env python3
"""Writes perturb/outputs.safetensors: what networks of dit/ and unet2d/ answer with a hand inside their attention.

    perturb.py [FOLDER]

Attention is written out here plainly, in double precision, as a processor of diffusers' own modules; where diffusers has hooks for
the same (identity attention and skipped blocks of a transformer, the blur), they are held to it. A tensor's name is the network's
file and, once or twice, kind amount first last of a vn_perturb. Needs what unet_case.py needs. tests/nn/test_perturb.c holds vane
to them.
"""

import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel, Transformer2DModel, UNet2DConditionModel, UNet2DModel
from diffusers.hooks import HookRegistry, LayerSkipConfig
from diffusers.hooks.layer_skip import _apply_layer_skip_hook
from diffusers.hooks.smoothed_energy_guidance_utils import _gaussian_blur_2d
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from safetensors import safe_open
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
IDENTITY, BLUR, SPARSE, ATTENTION, BLOCK = 1, 2, 4, 8, 16
INFINITE = 1e4
NETWORKS = ["dit/plain", "unet2d/plain", "unet2d/shift", "unet2d/skip-attention", "unet_condition/sd1"]
CASES = [
    [(IDENTITY, 0, 0, 0)],
    [(BLUR, 0.7, 0, 99)],
    [(BLUR, 30, 1, 1)],
    [(BLUR, INFINITE, 0, 99)],
    [(SPARSE, 2, 0, 99)],
    [(ATTENTION, 0, 0, 0)],
    [(BLOCK, 0, 1, 1)],
    [(BLUR, 0.7, 0, 0), (SPARSE, -1.5, 0, 99)],
]


def entmax15(x):
    """p = max(x/2 - t, 0)^2 that adds up to 1, t by halving."""
    z = x / 2
    low, high = z.amax(-1, keepdim=True) - 1, z.amax(-1, keepdim=True)
    for _ in range(100):
        t = (low + high) / 2
        above = (z - t).clamp(min=0).square().sum(-1, keepdim=True) > 1
        low, high = torch.where(above, t, low), torch.where(above, high, t)
    return (z - low).clamp(min=0).square()


def blur(q, rows, columns, sigma):
    """q [B,T,C] on the grid, as the code of SEG has it, for grids that need not be square."""
    if sigma >= INFINITE:
        return q.mean(1, keepdim=True).expand_as(q)
    image = q.transpose(1, 2).reshape(q.shape[0], q.shape[2], rows, columns)
    whole = math.ceil(6 * sigma) + 1 - math.ceil(6 * sigma) % 2
    for axis, n in ((2, rows), (3, columns)):
        half = (min(whole, n - (n % 2 - 1)) - 1) // 2
        taps = torch.exp(-0.5 * (torch.arange(-half, half + 1).double() / sigma) ** 2)
        kernel = (taps / taps.sum()).view([-1, 1] if axis == 2 else [1, -1]).expand(q.shape[2], 1, -1, -1)
        padding = (0, 0, half, half) if axis == 2 else (half, half, 0, 0)
        image = F.conv2d(F.pad(image, padding, mode="reflect") if half else image, kernel, groups=q.shape[2])
    return image.flatten(2).transpose(1, 2)


class Processor:
    def __init__(self, changes):
        self.changes, self.order, self.grid = changes, [], {}

    def amount(self, layer, kind):
        """Of a change of this kind on a layer, an attention or a transformer of them, else None. Layers are counted as
        they are met."""
        if layer not in self.order:
            self.order.append(layer)
        index = self.order.index(layer)
        return next((a for k, a, first, last in self.changes if k == kind and first <= index <= last), None)

    def attend(self, attn, x, rows, columns, text=None, layer=None, bias=None):
        """In a transformer the attention to itself is changed, but for the sparse kind, which changes that to a text."""
        layer, cross = layer or attn, text is not None
        source = text if cross else x
        q, k, v = attn.to_q(x), attn.to_k(source), attn.to_v(source)
        if not cross and self.amount(layer, IDENTITY) is not None:
            y = v
        else:
            sigma, scale = self.amount(layer, BLUR), self.amount(layer, SPARSE)
            if cross:
                sigma = None
            elif layer is not attn:
                scale = None
            if sigma is not None:
                q = blur(q, rows, columns, sigma)
            q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
            scores = q @ k.transpose(-1, -2) * attn.scale
            scores = scores if bias is None else scores + bias[:, None]
            p = scores.softmax(-1)
            if scale is not None:
                p = p + scale * (entmax15(scores) - p)
            y = (p @ v).transpose(1, 2).flatten(2)
        return attn.to_out[0](y)

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        if x.ndim == 3 and attn in self.grid:  # a transformer's in a U-Net: the transformer is the layer
            layer, side = self.grid[attn], self.grid[attn].side
            skipped = self.amount(layer, ATTENTION) is not None
            return 0 * x if skipped else self.attend(attn, x, *side, encoder_hidden_states, layer, attention_mask)
        if x.ndim == 3:  # a transformer's, without norm and residual
            side = math.isqrt(x.shape[1])
            return 0 * x if self.amount(attn, ATTENTION) is not None else self.attend(attn, x, side, side)
        if self.amount(attn, BLOCK) is not None:
            return x
        if self.amount(attn, ATTENTION) is not None:
            return x / attn.rescale_output_factor
        h = x.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            h = attn.group_norm(h.transpose(1, 2)).transpose(1, 2)
        h = self.attend(attn, h, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return (h + x) / attn.rescale_output_factor


def load(network):
    with safe_open(os.path.join(HERE, network + ".safetensors"), "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = {c.__name__: c for c in (DiTTransformer2DModel, UNet2DModel, UNet2DConditionModel)}[config["_class_name"]].from_config(config)
    model.load_state_dict({n[len("weight.") :]: t for n, t in tensors.items() if n.startswith("weight.")})
    for module in model.modules():
        if isinstance(module, TimestepEmbedding):  # sinusoids of a class are always single
            module.register_forward_pre_hook(lambda _, x: (x[0].double(), *x[1:]))
    inputs = ("sample", "timestep", "class_labels", "encoder_hidden_states", "encoder_attention_mask", "timestep_cond")
    return model.double().eval(), {n: tensors[n] for n in inputs if n in tensors}


def run(model, given):
    given = {n: t.double() if t.is_floating_point() else t for n, t in given.items()}
    with torch.no_grad():
        return model(given.pop("sample"), **given).sample


def wrap(transformer, processor):
    """Makes a transformer of a U-Net one layer for the processor."""
    plain = transformer.forward
    for module in transformer.modules():
        if isinstance(module, Attention):
            processor.grid[module] = transformer

    def forward(x, *args, **kwargs):
        transformer.side = x.shape[2:]
        return (x,) if processor.amount(transformer, BLOCK) is not None else plain(x, *args, **kwargs)

    transformer.forward = forward


def answer(network, changes):
    model, given = load(network)
    processor = Processor(changes)
    for module in model.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)
    for module in model.modules():
        if isinstance(module, Transformer2DModel):
            wrap(module, processor)
    for i, block in enumerate(getattr(model, "transformer_blocks", [])):
        if any(k == BLOCK and first <= i <= last for k, _, first, last in changes):
            block.forward = lambda x, **_: x
    return run(model, given)


def check_against_diffusers():
    plain, given = load("dit/plain")
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    close(answer("dit/plain", []), run(plain, given))
    close(answer("unet_condition/sd1", []), run(*load("unet_condition/sd1")))
    for kind, what in (
        (IDENTITY, dict(skip_attention=False, skip_attention_scores=True, skip_ff=False)),
        (BLOCK, dict(skip_attention=True, skip_attention_scores=False, skip_ff=True)),
    ):
        model, given = load("dit/plain")
        _apply_layer_skip_hook(model, LayerSkipConfig(indices=[1], fqn="transformer_blocks", **what), name="test")
        close(answer("dit/plain", [(kind, 0, 1, 1)]), run(model, given))
        HookRegistry.check_if_exists_or_initialize(model).remove_hook("test", recurse=True)
    q = torch.randn(2, 25, 6).double()
    for sigma in (0.7, 30):  # with its two cases the wrong way round: a threshold below sigma blurs
        size = math.ceil(6 * sigma) + 1 - math.ceil(6 * sigma) % 2
        close(blur(q, 5, 5, sigma), _gaussian_blur_2d(q.clone(), size, sigma, -1))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "perturb")
    os.makedirs(folder, exist_ok=True)
    check_against_diffusers()
    tensors = {}
    for network in NETWORKS:
        for changes in CASES:
            name = " ".join([network] + [" ".join(f"{n:g}" for n in change) for change in changes])
            tensors[name] = answer(network, changes).float().contiguous()
    path = os.path.join(folder, "outputs.safetensors")
    save_file(tensors, path)
    print(f"{os.path.getsize(path):8} {len(tensors)} outputs")


if __name__ == "__main__":
    main()
