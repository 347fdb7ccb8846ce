#!/usr/bin/env python3
"""Random DiTTransformer2DModel configs against diffusers: outputs, gradients, and that both refuse the same ones.

    dit_random.py --forward build/vane --count 40 [--seed 0] [--own]

With --own each config has some of the keys that vane adds, and dit.py's module stands for diffusers'.

What a case is and when it is right: random_case.py. Exit status 1 if any is wrong.
"""

from diffusers import DiTTransformer2DModel

import dit
import random_case

ACTIVATIONS = ["gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu"]


def random_config(r):
    """Mostly runnable; now and then not, which both sides must notice."""
    channels, patch = r.choice([1, 2, 3, 4]), r.choice([1, 2, 2, 3, 4, 5, 6, 7, 8])
    config = {
        "num_attention_heads": r.choice([1, 2, 3, 4, 6]),
        "attention_head_dim": r.choice([4, 4, 8, 12, 16, 20, 3, 6]),
        "in_channels": channels,
        "out_channels": r.choice([None, channels, 2 * channels, 5]),
        "num_layers": r.choice([1, 2, 3, 4]),
        "dropout": r.choice([0.0, 0.1]),
        "norm_num_groups": r.choice([32, 7]),
        "attention_bias": r.random() < 0.7,
        "sample_size": patch * r.choice([1, 2, 3, 4]) + r.choice([0, 0, patch - 1]),
        "patch_size": patch,
        "activation_fn": r.choice(ACTIVATIONS),
        "num_embeds_ada_norm": r.choice([0, 1, 10, 1000]),
        "upcast_attention": r.random() < 0.3,
        "norm_elementwise_affine": r.random() < 0.3,
        "norm_eps": r.choice([1e-5, 1e-6, 1e-3]),
    }
    if r.random() < 0.1:
        key, value = r.choice(
            [("num_layers", 0), ("norm_type", "layer_norm"), ("num_embeds_ada_norm", None), ("sample_size", patch - 1),
             ("activation_fn", "relu"), ("in_channels", 0)]
        )  # fmt: skip
        config[key] = value
    return config


def random_own(r):
    """At least one of vane's own keys."""
    own = {
        "block_norm": r.choice(["layer_norm", "rms_norm"]),
        "qk_norm": r.choice([None, "layer_norm", "rms_norm"]),
        "rope_theta": r.choice([None, 100, 10000.0]),
        "num_register_tokens": r.choice([0, 1, 4, 7]),
    }
    if own == {"block_norm": "layer_norm", "qk_norm": None, "rope_theta": None, "num_register_tokens": 0}:
        own["qk_norm"] = "rms_norm"
    return own


def family(own):
    def draw(r):
        config = random_config(r) | (random_own(r) if own else {})
        side = config["patch_size"] * r.choice([1, 2, 3, 4])
        return config, (side, side)

    def inputs(model, batch, side, _, seed):
        return dit.inputs(model, batch, side, seed)

    defaults = random_case.defaults_of(DiTTransformer2DModel)
    defaults |= {"block_norm": "layer_norm", "qk_norm": None, "rope_theta": None, "num_register_tokens": 0}
    return random_case.Family("dit", draw, dit.kind, inputs, defaults)


if __name__ == "__main__":
    random_case.main(__doc__, family(own=False), own=family(own=True))
