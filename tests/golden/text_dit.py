#!/usr/bin/env python3
"""VaneTextTransformer2DModel in PyTorch: a transformer of two streams, a text's tokens and an image's patches.

    text_dit.py                                           writes text_dit/*.safetensors, in unet2d.py's format
    text_dit.py --forward build/vane --count 40 [--seed 0]    random configs: what a case is and when it is right, random_case.py

Needs what unet_case.py needs. tests/nn/test_golden.c holds vane to the files.
"""

import os
import sys

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn

import random_case
import unet2d
import unet_case

# name: config, batch, height, width, tokens, whether there is a mask
CASES = {
    "plain": (dict(num_attention_heads=2, attention_head_dim=6, in_channels=2, num_layers=3, sample_size=8, patch_size=2,
                   joint_attention_dim=5), 3, 8, 8, 6, True),
    "one": (dict(num_attention_heads=1, attention_head_dim=8, in_channels=1, out_channels=2, num_layers=1, sample_size=(6, 9),
                 patch_size=3, joint_attention_dim=4), 2, 6, 9, 3, False),
    "larger": (dict(num_attention_heads=2, attention_head_dim=4, in_channels=3, num_layers=2, sample_size=4, patch_size=4,
                    dropout=0.2, joint_attention_dim=7), 2, 12, 8, 1, True),
}  # fmt: skip


def sines(place, count):
    """[n, 2 count]: sines, then cosines."""
    angle = place[:, None].double() / 10000 ** (torch.arange(count).double() / count)
    return torch.cat([angle.sin(), angle.cos()], 1)


class Mlp(nn.Module):
    def __init__(self, n, width):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(n, width), nn.Linear(width, width)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class Lin(nn.Module):  # under the name "linear"
    def __init__(self, n, m):
        super().__init__()
        self.linear = nn.Linear(n, m)


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        proj = nn.Module()
        proj.proj = nn.Linear(width, 4 * width)
        self.net = nn.ModuleList([proj, nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x):
        return self.net[2](F.gelu(self.net[0].proj(x), approximate="tanh"))


class Attention(nn.Module):
    def __init__(self, width, heads, last):
        super().__init__()
        self.heads = heads
        linear = lambda: nn.Linear(width, width)
        norm = lambda: nn.RMSNorm(width // heads, 1e-6)
        self.to_q, self.to_k, self.to_v, self.add_k_proj, self.add_v_proj = (linear() for _ in range(5))
        self.norm_q, self.norm_k, self.norm_added_k, self.to_out = norm(), norm(), norm(), nn.ModuleList([linear()])
        if not last:
            self.add_q_proj, self.to_add_out, self.norm_added_q = linear(), linear(), norm()

    def forward(self, text, image, seen):
        cut = lambda y: y.unflatten(2, (self.heads, -1)).transpose(1, 2)
        q, k = self.norm_q(cut(self.to_q(image))), self.norm_k(cut(self.to_k(image)))
        k = torch.cat([self.norm_added_k(cut(self.add_k_proj(text))), k], 2)
        v = torch.cat([cut(self.add_v_proj(text)), cut(self.to_v(image))], 2)
        mask = torch.cat([seen, seen.new_ones(len(seen), image.shape[1])], 1)[:, None, None]
        attend = lambda q: F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        if not hasattr(self, "add_q_proj"):
            return None, self.to_out[0](attend(q))
        return self.to_add_out(attend(self.norm_added_q(cut(self.add_q_proj(text))))), self.to_out[0](attend(q))


def modulated(x, scale, shift):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    def __init__(self, width, heads, last):
        super().__init__()
        self.norm1, self.norm1_context = Lin(width, 6 * width), Lin(width, (2 if last else 6) * width)
        self.attn, self.ff = Attention(width, heads, last), FeedForward(width)
        if not last:
            self.ff_context = FeedForward(width)

    def forward(self, text, image, c, seen):
        b1, s1, g1, b2, s2, g2 = self.norm1.linear(c).chunk(6, 1)
        e = self.norm1_context.linear(c).chunk(6 if hasattr(self, "ff_context") else 2, 1)
        more, mine = self.attn(modulated(text, e[1], e[0]), modulated(image, s1, b1), seen)
        image = image + g1[:, None] * mine
        image = image + g2[:, None] * self.ff(modulated(image, s2, b2))
        if more is None:
            return None, image
        text = text + e[2][:, None] * more
        return text + e[5][:, None] * self.ff_context(modulated(text, e[4], e[3])), image


class VaneTextTransformer2DModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, num_attention_heads=4, attention_head_dim=32, in_channels=3, out_channels=None, num_layers=6, dropout=0.0,
                 sample_size=32, patch_size=4, joint_attention_dim=128):  # fmt: skip
        super().__init__()
        width = num_attention_heads * attention_head_dim
        sides = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
        if num_layers < 1 or in_channels < 1 or width % 4 or any(side % patch_size for side in sides):
            raise ValueError("width or sample_size")
        self.pos_embed = nn.Module()
        self.pos_embed.proj = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.time_text_embed = nn.Module()
        self.time_text_embed.timestep_embedder, self.time_text_embed.text_embedder = Mlp(256, width), Mlp(joint_attention_dim, width)
        self.context_embedder = nn.Linear(joint_attention_dim, width)
        self.transformer_blocks = nn.ModuleList(Block(width, num_attention_heads, i == num_layers - 1) for i in range(num_layers))
        self.norm_out = Lin(width, 2 * width)
        self.proj_out = nn.Linear(width, patch_size**2 * (out_channels or in_channels))

    def forward(self, sample, timestep, encoder_hidden_states, encoder_attention_mask=None):
        words, p, width = encoder_hidden_states.to(sample.dtype), self.config.patch_size, self.context_embedder.out_features
        seen = torch.ones(words.shape[:2]) if encoder_attention_mask is None else encoder_attention_mask
        seen = seen.bool()
        rows, columns = sample.shape[2] // p, sample.shape[3] // p
        row, column = (x.flatten() for x in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
        places = torch.cat([sines(column, width // 4), sines(row, width // 4)], 1)
        image = self.pos_embed.proj(sample).flatten(2).transpose(1, 2) + places.to(sample.dtype)
        frequency = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128)
        angle = timestep[:, None].float() * frequency
        time = torch.cat([angle.cos(), angle.sin()], 1).to(sample.dtype)
        mean = (words * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
        c = F.silu(self.time_text_embed.timestep_embedder(time) + self.time_text_embed.text_embedder(mean))
        text = self.context_embedder(words)
        for block in self.transformer_blocks:
            text, image = block(text, image, c, seen)
        shift, scale = self.norm_out.linear(c).chunk(2, 1)
        y = self.proj_out(modulated(image, scale, shift)).unflatten(2, (p, p, -1)).unflatten(1, (rows, columns))
        return Transformer2DModelOutput(sample=torch.einsum("nhwpqc->nchpwq", y).flatten(4).flatten(2, 3))


def inputs(model, batch, height, width, seed, tokens=None, masked=None):
    """Texts of different lengths, filled up; some of nothing."""
    g = torch.Generator().manual_seed(seed + 1)
    c = model.config
    tokens = tokens or int(torch.randint(1, 12, (1,), generator=g))
    given = {
        "sample": torch.randn(batch, c.in_channels, height, width, generator=g),
        "timestep": 999 * torch.rand(batch, generator=g) if seed % 2 else torch.randint(0, 1000, (batch,), generator=g),
        "encoder_hidden_states": torch.randn(batch, tokens, c.joint_attention_dim, generator=g),
    }
    if seed % 3 if masked is None else masked:
        length = torch.randint(0, tokens + 1, (batch,), generator=g)
        given["encoder_attention_mask"] = (torch.arange(tokens) < length[:, None]).long()
    return given


def draw(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    channels, patch = r.choice([1, 2, 3]), r.choice([1, 2, 3, 4])
    side = lambda: patch * r.choice([1, 2, 3, 4])
    config = {
        "num_attention_heads": r.choice([1, 2, 4]),
        "attention_head_dim": r.choice([4, 8, 12, 16, 20]),
        "in_channels": channels,
        "out_channels": r.choice([None, channels, 2 * channels]),
        "num_layers": r.choice([1, 2, 3, 4]),
        "dropout": r.choice([0.0, 0.1]),
        "sample_size": r.choice([side(), [side(), side()]]),
        "patch_size": patch,
        "joint_attention_dim": r.choice([1, 5, 16, 40]),
    }
    if r.random() < 0.1:
        key, value = r.choice([("num_layers", 0), ("attention_head_dim", 3), ("in_channels", 0), ("sample_size", 4 * patch + 1)])
        config[key] = value
    return config, (side(), side())


def main():
    if "--forward" in sys.argv:
        defaults = random_case.defaults_of(VaneTextTransformer2DModel)
        kind = lambda config: VaneTextTransformer2DModel
        return random_case.main(__doc__, random_case.Family("text-dit", draw, kind, inputs, defaults))
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text_dit")
    os.makedirs(folder, exist_ok=True)
    for i, (name, (config, batch, height, width, tokens, masked)) in enumerate(CASES.items()):
        model = unet_case.build(config, 300 + i, VaneTextTransformer2DModel)
        unet2d.write(os.path.join(folder, name + ".safetensors"), model, inputs(model, batch, height, width, 300 + i, tokens, masked))


if __name__ == "__main__":
    main()
