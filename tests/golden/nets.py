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


class Resnet(nn.Module):
    def __init__(self, channels, groups, time):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, channels)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(e))[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(h)))


class Level(nn.Module):
    def __init__(self, before, channels, layers, groups, time):
        super().__init__()
        if before:
            self.downsample = nn.Conv2d(before, channels, 3, 2, 1)
        self.resnets = nn.ModuleList(Resnet(channels, groups, time) for _ in range(layers))

    def forward(self, x, e):
        x = self.downsample(x) if hasattr(self, "downsample") else x
        for resnet in self.resnets:
            x = resnet(x, e)
        return x


class ImageClassifier(nn.Module):
    def __init__(self, c):
        super().__init__()
        channels, groups = c["block_out_channels"], c["norm_num_groups"]
        self.features = channels[0]
        self.time_embedding = TimeEmbedding(channels[0], 4 * channels[0])
        self.conv_in = nn.Conv2d(c["in_channels"], channels[0], 3, padding=1)
        self.levels = nn.ModuleList(
            Level(before, own, c["layers_per_block"], groups, 4 * channels[0])
            for before, own in zip([0] + channels, channels)
        )
        self.norm_out = nn.GroupNorm(groups, channels[-1])
        self.head = nn.Linear(channels[-1], c["num_classes"])

    def forward(self, sample, timestep):
        e = self.time_embedding(sinusoids(timestep, self.features))
        x = self.conv_in(sample)
        for level in self.levels:
            x = level(x, e)
        return self.head(F.silu(self.norm_out(x)).mean((2, 3)))


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
        ImageClassifier,
        {"_class_name": "VaneClassifier", "in_channels": 2, "num_classes": 5, "block_out_channels": [8, 12],
         "layers_per_block": 1, "norm_num_groups": 4, "time": True},
        lambda: {"sample": torch.randn(3, 2, 7, 6), "timestep": torch.rand(3)},
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
    for key, p in model.named_parameters():
        flat = p.grad.flatten()
        tensors["grad." + key] = flat[:: -(-flat.numel() // KEPT)]
        tensors["weight." + key] = p.half()
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
