"""An autoencoder case: random weights and images, and what diffusers makes of them.

Shared by autoencoder.py (the golden set) and autoencoder_random.py. VaneFSQModel is vane's own: diffusers' VQModel with finite
scalar quantisation (2309.15505) in place of the codebook.
"""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ConfigMixin, ModelMixin, VQModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import Decoder, Encoder


class Scalars:
    """Each channel rounded to one of its levels, the gradient going straight through."""

    def __init__(self, levels):
        self.levels = torch.tensor(levels)

    def __call__(self, z):
        levels = self.levels.to(z.dtype)[:, None, None]
        half, offset = (levels - 1) * (1 + 1e-3) / 2, torch.where(self.levels % 2 == 0, 0.5, 0.0).to(z.dtype)[:, None, None]
        bounded = half * torch.tanh(z + torch.atanh(offset / half)) - offset
        whole = torch.round(bounded)
        place = torch.cumprod(torch.cat([torch.ones(1, dtype=torch.long), self.levels[:-1]]), 0)[:, None, None]
        codes = ((whole.long() + (self.levels // 2)[:, None, None]) * place).sum(1)
        return (bounded + (whole - bounded).detach()) / torch.div(levels, 2, rounding_mode="floor"), codes


class VaneFSQModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(
        self,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(64,),
        layers_per_block=1,
        act_fn="silu",
        latent_channels=4,
        sample_size=32,
        norm_num_groups=32,
        scaling_factor=0.18215,
        norm_type="group",
        mid_block_add_attention=True,
        force_upcast=False,
        levels=(8, 5, 5, 5),
    ):
        super().__init__()
        both = dict(
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            mid_block_add_attention=mid_block_add_attention,
        )
        self.encoder = Encoder(in_channels, latent_channels, down_block_types, double_z=False, **both)
        self.quant_conv = torch.nn.Conv2d(latent_channels, len(levels), 1)
        self.scalars = Scalars(levels)
        self.post_quant_conv = torch.nn.Conv2d(len(levels), latent_channels, 1)
        self.decoder = Decoder(latent_channels, out_channels, up_block_types, norm_type=norm_type, **both)

    def latents(self, x):
        return self.quant_conv(self.encoder(x))

    def decoded(self, z):
        values, _ = self.scalars(z)
        return self.decoder(self.post_quant_conv(values), values if self.config.norm_type == "spatial" else None)


def inputs(model, batch, height, width, seed):
    g = torch.Generator().manual_seed(seed + 1)
    return {"sample": torch.randn(batch, model.config.in_channels, height, width, generator=g)}


def encode(model, x):
    """What the encoder gives, by the names of vane's outputs; the first is what is decoded."""
    if isinstance(model, AutoencoderKL):
        d = model.encode(x).latent_dist
        return {"mean": d.mean, "logvar": d.logvar}
    return {"latents": model.latents(x) if isinstance(model, VaneFSQModel) else model.encode(x).latents}


def decode(model, z):
    return model.decoded(z) if isinstance(model, VaneFSQModel) else model.decode(z).sample


def codes(model, z):
    """[N,h,w] of latents that are not quantised yet; None: this autoencoder has none."""
    if isinstance(model, VaneFSQModel):
        return model.scalars(z)[1]
    if isinstance(model, VQModel):
        return model.quantize(z)[2][2].reshape(z.shape[0], *z.shape[2:])
    return None


def run(model, given, cotangent=None, dtype=torch.float32):
    """Outputs and gradients of sum(cotangent * decoded), as {"decoded": ..., "latents": ..., "grad.sample": ..., ...}."""
    model = model.to(dtype)
    for p in model.parameters():
        p.grad = None
    x = given["sample"].detach().clone().to(dtype).requires_grad_()
    latents = encode(model, x)
    y = decode(model, next(iter(latents.values())))
    if cotangent is None:
        cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    (y * cotangent.to(dtype)).sum().backward()
    out = {"cotangent": cotangent, "decoded": y, **latents, "grad.sample": x.grad}
    for name, p in model.named_parameters():
        out["grad." + name] = torch.zeros_like(p) if p.grad is None else p.grad
    return {k: v.detach().float().clone() if k != "cotangent" else v for k, v in out.items()}


KINDS = {"kl": AutoencoderKL, "tiny": AutoencoderTiny, "vq": VQModel, "fsq": VaneFSQModel}
