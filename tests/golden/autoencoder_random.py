#!/usr/bin/env python3
"""Random configs of AutoencoderKL (or --tiny, --vq, --fsq) against diffusers: what is encoded and decoded, gradients by the image and by
weights, and that both refuse the same ones.

    autoencoder_random.py --forward build/vane --count 40 [--seed 0] [--tiny | --vq | --fsq]

What a case is and when it is right: random_case.py. Exit status 1 if any is wrong.
"""

import autoencoder_case
import random_case


def body(r, spatial=False):
    """What encoder and decoder of KL and VQ have in common. Norms by latents have 32 groups always."""
    levels = r.choice([1, 2, 2, 3, 3, 4])
    unit = 64 if spatial else r.choice([4, 6, 8, 12])
    groups = r.choice([g for g in (1, 2, 3, 4) if unit % g == 0])
    down = ["DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"]
    up = ["UpDecoderBlock2D", "UpDecoderBlock2D", "AttnUpDecoderBlock2D"]
    c = {
        "in_channels": r.choice([1, 3, 3, 4]),
        "out_channels": r.choice([1, 3, 3, 5]),
        "down_block_types": [r.choice(down) for _ in range(levels)],
        "up_block_types": [r.choice(up) for _ in range(levels)],
        "block_out_channels": [unit * r.choice([1, 1, 1] if spatial else [1, 1, 2, 3]) for _ in range(levels)],
        "layers_per_block": r.choice([1, 1, 2]),
        "act_fn": r.choice(["silu", "silu", "mish", "gelu", "relu", "swish"]),
        "latent_channels": r.choice([1, 2, 3, 4, 8]),
        "norm_num_groups": groups,
        "sample_size": r.choice([16, 32, 64]),
        "scaling_factor": r.choice([0.18215, 0.18215, 0.13025, 1.5]),
        "force_upcast": r.random() < 0.5,
        "mid_block_add_attention": r.random() < 0.7,
    }
    if r.random() < 0.1:
        key, value = r.choice([
            ("down_block_types", ["DownBlock2D"] * levels), ("norm_num_groups", 5), ("act_fn", "tanh"), ("up_block_types", ["UpDecoder"] * levels),
            ("latent_channels", 0),
        ])  # fmt: skip
        c[key] = value
    if r.random() < 0.1:
        c["down_block_types"][0] = "UNetRes" + c["down_block_types"][0]
    return c


def size_of(r, config):
    """A norm by latents of few numbers in a group divides by next to nothing, in PyTorch too: such latents are not of one pixel."""
    unit, least = 2 ** (len(config["block_out_channels"]) - 1), 2 if config.get("norm_type") == "spatial" else 1
    return tuple(unit * r.choice([least, 2, 3, 4]) for _ in range(2))


def random_kl(r):
    c = body(r)
    per_channel = r.random() < 0.3
    numbers = lambda: [round(r.uniform(0.5, 2), 3) for _ in range(c["latent_channels"])]  # noqa: E731
    c |= {
        "use_quant_conv": r.random() < 0.7,
        "use_post_quant_conv": r.random() < 0.7,
        "shift_factor": r.choice([None, 0.1159, -0.5]),
        "latents_mean": numbers() if per_channel and c["latent_channels"] else None,
        "latents_std": numbers() if per_channel and c["latent_channels"] else None,
    }
    return c, size_of(r, c)


def random_vq(r):
    spatial = r.random() < 0.35
    c = body(r, spatial)
    c |= {
        "num_vq_embeddings": r.choice([1, 5, 16, 100]),
        "vq_embed_dim": r.choice([None, c["latent_channels"], 2, 5]),
        "norm_type": "spatial" if spatial else "group",
        "lookup_from_codebook": r.random() < 0.5,
    }
    if spatial and r.random() < 0.8:
        c["vq_embed_dim"] = None
    return c, size_of(r, c)


def random_fsq(r):
    spatial = r.random() < 0.35
    c = body(r, spatial)
    levels = [r.choice([2, 3, 4, 5, 6, 7, 8]) for _ in range(r.choice([1, 2, 3, 4, 5]))]
    c |= {"levels": levels, "norm_type": "spatial" if spatial else "group"}
    if spatial and c["latent_channels"] and r.random() < 0.8:
        c["levels"] = [min(k, 5) for k in levels * 8][: c["latent_channels"]]
    return c, size_of(r, c)


def random_tiny(r):
    down, up = r.choice([1, 2, 3, 4]), r.choice([1, 2, 3, 4])
    width, other = r.choice([3, 4, 8, 10]), r.choice([3, 4, 8, 10])
    c = {
        "in_channels": r.choice([1, 3, 3, 4]),
        "out_channels": r.choice([1, 3, 3, 5]),
        "encoder_block_out_channels": [width] * down,
        "decoder_block_out_channels": [other] * up,
        "act_fn": r.choice(["relu", "relu", "silu", "mish", "gelu"]),
        "upsample_fn": r.choice(["nearest", "nearest", "nearest-exact"]),
        "latent_channels": r.choice([1, 2, 4, 8]),
        "upsampling_scaling_factor": r.choice([1, 2, 2, 2, 3]),
        "num_encoder_blocks": [r.choice([0, 1, 2, 3]) for _ in range(down)],
        "num_decoder_blocks": [r.choice([0, 1, 2, 3]) for _ in range(up)],
        "latent_magnitude": r.choice([3, 2.5]),
        "latent_shift": r.choice([0.5, 0.25]),
        "scaling_factor": r.choice([1.0, 0.5]),
        "shift_factor": r.choice([0.0, 0.25]),
    }
    if r.random() < 0.1:
        key, value = r.choice([("num_encoder_blocks", [1] * (down + 1)), ("encoder_block_out_channels", [width] * (down + 1)),
                               ("act_fn", "tanh"), ("upsample_fn", "box")])  # fmt: skip
        c[key] = value
    unit = 2 ** (down - 1)
    return c, tuple(unit * r.choice([1, 2, 3, 4]) for _ in range(2))


def family(kind, draw):
    of = autoencoder_case.KINDS[kind]
    # a sum that is zero but for rounding is on either side of a ReLU's corner, and ends each block of a tiny one
    off = dict(gradient=1e-3) if kind == "tiny" else {}
    kinds = lambda _: of  # noqa: E731
    return random_case.Family(
        "autoencoder-" + kind, draw, kinds, autoencoder_case.inputs, random_case.defaults_of(of), autoencoder_case.run, **off
    )


if __name__ == "__main__":
    draws = {"kl": random_kl, "tiny": random_tiny, "vq": random_vq, "fsq": random_fsq}
    families = {kind: family(kind, draw) for kind, draw in draws.items()}
    random_case.main(__doc__, families.pop("kl"), **families)
