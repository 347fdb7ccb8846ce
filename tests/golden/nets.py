#!/usr/bin/env python3
"""Writes nets/*.safetensors: vane's own networks (VaneMLP, VaneClassifier) as PyTorch has them, in unet2d.py's format.

    nets.py [FOLDER]
"""

import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

KEPT = 400


def sinusoids(t, width):
    half = width // 2
    angle = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half).float() / half)
    return torch.cat([torch.cos(angle), torch.sin(angle)], 1)


class TimeEmbedding(nn.Module):
    def __init__(self, features, width):
        super().__init__()
        self.linear_1 = nn.Linear(features, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class Layer(nn.Module):
    def __init__(self, width, time):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear_1 = nn.Linear(width, width)
        if time:
            self.time_proj = nn.Linear(time, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x, e):
        h = self.linear_1(F.silu(self.norm(x)))
        if e is not None:
            h = h + self.time_proj(F.silu(e))
        return x + self.linear_2(F.silu(h))


class Trunk(nn.Module):
    def trunk_init(self, inputs, width, layers, time):
        self.input = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(Layer(width, time) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def trunk(self, x, e):
        x = self.input(x)
        for layer in self.layers:
            x = layer(x, e)
        return F.silu(self.norm_out(x))


class MLP(Trunk):
    def __init__(self, c):
        super().__init__()
        self.features = c["time_features"]
        self.trunk_init(c["dimension"], c["width"], c["layers"], c["width"])
        self.time_embedding = TimeEmbedding(c["time_features"], c["width"])
        if c["num_class_embeds"]:
            self.class_embedding = nn.Embedding(c["num_class_embeds"], c["width"])
        self.output = nn.Linear(c["width"], c["dimension"])

    def forward(self, sample, timestep, class_labels=None):
        e = self.time_embedding(sinusoids(timestep, self.features))
        if class_labels is not None:
            e = e + self.class_embedding(class_labels)
        return self.output(self.trunk(sample, e))


class PointClassifier(Trunk):
    def __init__(self, c):
        super().__init__()
        width = c["block_out_channels"][0]
        self.trunk_init(c["in_channels"], width, c["layers_per_block"], 0)
        self.head = nn.Linear(width, c["num_classes"])

    def forward(self, sample):
        return self.head(self.trunk(sample, None))


# guided-diffusion's EncoderUNetModel, its modules in its order and under its names, so that a state dict of it would load;
# only the number of groups of its norms, 32 there, is a parameter.


class ResBlock(nn.Module):
    def __init__(self, channels, out, emb, groups, down=False):
        super().__init__()
        self.down = down
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out), nn.SiLU(), nn.Dropout(0), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x, emb):
        h = self.in_layers[:-1](x)
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = self.in_layers[-1](h)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        return self.skip_connection(x) + h


def attend(q, k, v):
    """[B*heads, channels of a head, tokens]"""
    scale = q.shape[1] ** -0.25
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), -1)
    return torch.einsum("bts,bcs->bct", weight, v)


class AttentionBlock(nn.Module):
    def __init__(self, channels, head, groups):
        super().__init__()
        self.heads = channels // head
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        flat = x.flatten(2)
        b, c, t = flat.shape
        qkv = self.qkv(self.norm(flat)).reshape(b * self.heads, -1, t)  # the legacy order: by head first
        h = attend(*qkv.chunk(3, dim=1)).reshape(b, c, t)
        return (flat + self.proj_out(h)).reshape(x.shape)


class AttentionPool2d(nn.Module):
    def __init__(self, side, channels, head, out):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out, 1)
        self.heads = channels // head

    def forward(self, x):
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=-1, keepdim=True), x], dim=-1) + self.positional_embedding[None]
        b, c, t = x.shape
        q, k, v = (part.reshape(b * self.heads, -1, t) for part in self.qkv_proj(x).chunk(3, dim=1))
        return self.c_proj(attend(q, k, v).reshape(b, c, t))[:, :, 0]


class EmbedSequential(nn.Sequential):
    def forward(self, x, emb):
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, emb)
        return x


class EncoderUNetModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        channels, groups, head = c["block_out_channels"], c["norm_num_groups"], c["attention_head_dim"]
        levels, emb, side = len(channels), 4 * channels[0], c.get("sample_size") or 0
        self.features = channels[0]
        self.time_embed = nn.Sequential(nn.Linear(channels[0], emb), nn.SiLU(), nn.Linear(emb, emb))
        self.input_blocks = nn.ModuleList([EmbedSequential(nn.Conv2d(c["in_channels"], channels[0], 3, padding=1))])
        ch = channels[0]
        for level, out in enumerate(channels):
            for _ in range(c["layers_per_block"]):
                layers = [ResBlock(ch, out, emb, groups)]
                ch = out
                if level >= levels - c["attention_levels"]:
                    layers.append(AttentionBlock(ch, head, groups))
                self.input_blocks.append(EmbedSequential(*layers))
            if level != levels - 1:
                self.input_blocks.append(EmbedSequential(ResBlock(ch, ch, emb, groups, down=True)))
                side //= 2
        self.middle_block = EmbedSequential(
            ResBlock(ch, ch, emb, groups), AttentionBlock(ch, head, groups), ResBlock(ch, ch, emb, groups)
        )
        if c["pool"] == "attention":
            self.out = nn.Sequential(
                nn.GroupNorm(groups, ch), nn.SiLU(), AttentionPool2d(side, ch, head, c["num_classes"])
            )
        else:  # "adaptive"
            self.out = nn.Sequential(
                nn.GroupNorm(groups, ch), nn.SiLU(), nn.AdaptiveAvgPool2d((1, 1)),
                nn.Conv2d(ch, c["num_classes"], 1), nn.Flatten(),
            )  # fmt: skip
        self.config = c

    def forward(self, sample, timestep):
        emb = self.time_embed(sinusoids(timestep, self.features))
        x = sample
        for block in self.input_blocks:
            x = block(x, emb)
        return self.out(self.middle_block(x, emb))

    # ---- vane's names, as docs/formats.md has them ----

    def blocks(self):
        """Pairs of its prefixes and vane's, of residual blocks and of attention."""
        c, at = self.config, 1
        levels = len(c["block_out_channels"])
        for level in range(levels):
            for layer in range(c["layers_per_block"]):
                yield f"input_blocks.{at}.0", f"down_blocks.{level}.resnets.{layer}"
                if level >= levels - c["attention_levels"]:
                    yield f"input_blocks.{at}.1", f"down_blocks.{level}.attentions.{layer}"
                at += 1
            if level != levels - 1:
                yield f"input_blocks.{at}.0", f"down_blocks.{level}.downsamplers.0"
                at += 1
        yield "middle_block.0", "mid_block.resnets.0"
        yield "middle_block.1", "mid_block.attentions.0"
        yield "middle_block.2", "mid_block.resnets.1"

    def renamed(self, tensors):
        """Its tensors (weights, or gradients of them) under vane's names."""
        last = "out.3" if self.config["pool"] == "mean" else "out.2.c_proj"
        names = {"input_blocks.0.0": "conv_in", "time_embed.0": "time_embedding.linear_1",
                 "time_embed.2": "time_embedding.linear_2", "out.0": "norm_out", last: "head"}  # fmt: skip
        inside = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
                  "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "norm": "group_norm",
                  "proj_out": "to_out.0"}  # fmt: skip
        blocks, out = dict(self.blocks()), {}
        for name, x in tensors.items():
            place, kind = name.rsplit(".", 1)
            if kind == "positional_embedding":
                out["pool.positional_embedding"] = x.T
                continue
            block = next((b for b in blocks if place.startswith(b + ".")), None)
            own = place[len(block) + 1 :] if block else None
            if own == "qkv" or place == "out.2.qkv_proj":
                heads = x.shape[0] // 3 // self.config["attention_head_dim"]
                parts = x.flatten(1) if x.ndim > 1 else x
                by_head = parts.reshape(heads, 3, -1, *parts.shape[1:]).transpose(0, 1)
                parts = by_head.reshape(parts.shape) if own else parts  # the pool has q, k and v apart already
                for key, part in zip("qkv", parts.chunk(3)):
                    out[f"{blocks[block] if own else 'pool'}.to_{key}.{kind}"] = part
                continue
            linear = x.ndim > 2 and (own == "proj_out" or place == last)  # a convolution of one pixel
            out[f"{blocks[block]}.{inside[own]}.{kind}" if block else f"{names[place]}.{kind}"] = x.flatten(1) if linear else x
        return out


class Discriminator(nn.Module):
    """PatchGAN's, with GroupNorm in the place of BatchNorm."""

    def __init__(self, c):
        super().__init__()
        self.layers, inputs = nn.ModuleList(), c["in_channels"]
        for i in range(c["layers"] + 1):
            width = c["channels"] * min(2**i, 8)
            layer = nn.Module()
            layer.conv = nn.Conv2d(inputs, width, 4, stride=2 if i < c["layers"] else 1, padding=1, bias=i == 0)
            if i > 0:
                layer.norm = nn.GroupNorm(GROUPS[width], width)
            self.layers.append(layer)
            inputs = width
        self.conv_out = nn.Conv2d(inputs, 1, 4, padding=1)

    def forward(self, sample):
        x = sample
        for layer in self.layers:
            x = layer.conv(x)
            x = F.leaky_relu(layer.norm(x) if hasattr(layer, "norm") else x, 0.2)
        return self.conv_out(x)


# of four channels at least
GROUPS = {8: 2, 16: 4, 32: 8}
CASES = {
    "mlp": (
        MLP,
        {"_class_name": "VaneMLP", "dimension": 3, "width": 20, "layers": 2, "time_features": 8, "num_class_embeds": 4},
        lambda: {"sample": torch.randn(5, 3), "timestep": 1000 * torch.rand(5), "class_labels": torch.randint(4, (5,))},
    ),
    "classifier-points": (
        PointClassifier,
        {"_class_name": "VaneClassifier", "input": "points", "in_channels": 2, "num_classes": 3,
         "block_out_channels": [16], "layers_per_block": 2, "time": False},
        lambda: {"sample": torch.randn(4, 2)},
    ),
    "classifier-image": (
        EncoderUNetModel,
        {"_class_name": "VaneClassifier", "in_channels": 2, "sample_size": 14, "num_classes": 5,
         "block_out_channels": [8, 8, 16], "layers_per_block": 2, "norm_num_groups": 4, "attention_levels": 2,
         "attention_head_dim": 8, "pool": "attention", "time": True},
        lambda: {"sample": torch.randn(3, 2, 14, 14), "timestep": 1000 * torch.rand(3)},
    ),
    "classifier-mean": (
        EncoderUNetModel,
        {"_class_name": "VaneClassifier", "in_channels": 1, "num_classes": 3, "block_out_channels": [8, 12],
         "layers_per_block": 1, "norm_num_groups": 4, "attention_levels": 1, "attention_head_dim": 4, "pool": "mean",
         "time": True},
        lambda: {"sample": torch.randn(3, 1, 7, 6), "timestep": 1000 * torch.rand(3)},
    ),
    "discriminator": (
        Discriminator,
        {"_class_name": "VaneDiscriminator", "in_channels": 2, "sample_size": [26, 33], "channels": 4, "layers": 3},
        lambda: {"sample": torch.randn(2, 2, 26, 33)},
    ),
}  # fmt: skip


def save(folder, name):
    make, config, inputs = CASES[name]
    model = make(config)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p + 0.1 * torch.randn_like(p)).half().float())
    given = inputs()
    x = given["sample"].requires_grad_()
    y = model(**given)
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    tensors = {**given, "cotangent": cotangent, "output": y, "grad.sample": x.grad}
    weights = {key: p.detach() for key, p in model.named_parameters()}
    grads = {key: p.grad for key, p in model.named_parameters()}
    if hasattr(model, "renamed"):
        weights, grads = model.renamed(weights), model.renamed(grads)
    for key in weights:
        flat = grads[key].flatten()
        tensors["grad." + key] = flat[:: -(-flat.numel() // KEPT)]
        tensors["weight." + key] = weights[key].half()
    path = os.path.join(folder, name + ".safetensors")
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(tensors, path, {"config": json.dumps(config)})
    print(f"{os.path.getsize(path):8} {name}")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "nets")
    os.makedirs(folder, exist_ok=True)
    for seed, name in enumerate(CASES):
        torch.manual_seed(seed)
        save(folder, name)


if __name__ == "__main__":
    main()
