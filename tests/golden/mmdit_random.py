#!/usr/bin/env python3
"""Random SD3Transformer2DModel and FluxTransformer2DModel configs against diffusers: outputs, gradients by weights and inputs,
and that both refuse the same ones.

    mmdit_random.py --forward build/vane --count 40 [--seed 0] [--flux]

What a case is and when it is right: random_case.py. Exit status 1 if any is wrong.
"""

from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

import mmdit
import random_case


def random_sd3(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    heads, head, patch, layers = r.choice([1, 2, 3, 4]), r.choice([4, 8, 12, 16]), r.choice([1, 2, 2, 3, 4]), r.choice([0, 1, 2, 2, 3, 4])
    channels = r.choice([1, 3, 4, 16])
    config = {
        "sample_size": patch * r.choice([1, 3, 4, 8]) + r.choice([0, 0, patch - 1]),
        "patch_size": patch,
        "in_channels": channels,
        "num_layers": layers,
        "attention_head_dim": head,
        "num_attention_heads": heads,
        "joint_attention_dim": r.choice([5, 16, 33]),
        "caption_projection_dim": heads * head,
        "pooled_projection_dim": r.choice([4, 20]),
        "out_channels": r.choice([None, channels, 2 * channels, 5]),
        "pos_embed_max_size": r.choice([None, 8, 9, 24]),
        "dual_attention_layers": [i for i in range(layers) if r.random() < 0.4] if r.random() < 0.5 else [],
        "qk_norm": r.choice([None, "rms_norm", "rms_norm", "layer_norm", "fp32_layer_norm"]),
    }
    if r.random() < 0.1:
        key, value = r.choice(
            [("caption_projection_dim", heads * head + 4), ("sample_size", patch - 1), ("qk_norm", "l2"),
             ("pos_embed_max_size", 1), ("joint_attention_dim", None)]
        )  # fmt: skip
        config[key] = value
        config["num_layers"] = max(layers, 1)
    return config


def random_flux(r):
    axes = r.choice([(2, 2, 2), (4, 6, 6), (2, 8, 6), (16, 24, 24), (2, 2), (4,), (2, 2, 2, 2)])
    channels = r.choice([1, 4, 12, 64])
    config = {
        "patch_size": r.choice([1, 1, 1, 2]),
        "in_channels": channels,
        "out_channels": r.choice([None, channels, 5]),
        "num_layers": r.choice([0, 1, 2, 3]),
        "num_single_layers": r.choice([0, 1, 2, 4]),
        "attention_head_dim": sum(axes),
        "num_attention_heads": r.choice([1, 2, 3, 4]),
        "joint_attention_dim": r.choice([5, 16, 33]),
        "pooled_projection_dim": r.choice([4, 20]),
        "guidance_embeds": r.random() < 0.5,
        "axes_dims_rope": list(axes),
    }
    if r.random() < 0.1:
        key, value = r.choice([("axes_dims_rope", [2, *axes[1:], 2]), ("joint_attention_dim", None), ("attention_head_dim", sum(axes) + 2)])
        config[key] = value
        if not config["num_layers"] + config["num_single_layers"]:
            config["num_layers"] = 1
    return config


def sd3():
    def draw(r):
        config = random_sd3(r)
        most = config["pos_embed_max_size"] or 9
        return config, tuple(config["patch_size"] * r.randint(1, min(most, 9)) for _ in range(2))

    inputs = lambda model, batch, height, width, seed: mmdit.sd3_inputs(model, batch, height, width, 1 + seed % 7, seed)  # noqa: E731
    defaults = random_case.defaults_of(SD3Transformer2DModel)
    return random_case.Family("sd3", draw, lambda _: SD3Transformer2DModel, inputs, defaults | {"dual_attention_layers": []})


def flux():
    draw = lambda r: (random_flux(r), (r.choice([1, 2, 5, 9]), r.choice([1, 3, 4])))  # noqa: E731
    inputs = lambda model, batch, rows, columns, seed: mmdit.flux_inputs(model, batch, rows, columns, 1 + seed % 7, seed)  # noqa: E731
    defaults = random_case.defaults_of(FluxTransformer2DModel)
    # guidance of 6 is embedded as 6000: a rounding of its sinusoids' frequencies, which PyTorch's are, is six times that of a time
    off = dict(output=1e-4, gradient=1e-3)
    return random_case.Family("flux", draw, lambda _: FluxTransformer2DModel, inputs, defaults | {"axes_dims_rope": [16, 56, 56]}, **off)


if __name__ == "__main__":
    random_case.main(__doc__, sd3(), flux=flux())
