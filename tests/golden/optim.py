"""Ten steps of torch.optim.AdamW on a handful of numbers, with clipping by the global norm and a moving average of the weights.
Writes optim.h beside this file. Made with PyTorch 2.13 (CPU): python optim.py"""
import pathlib

import torch

COUNT, STEPS, LR, BETAS, EPS, DECAY, EMA, CLIP = 19, 10, 3e-3, (0.9, 0.95), 1e-8, 0.1, 0.75, 2.0


def rows(name, values):
    lines = [f"static const float {name}[] = {{"]
    values = values.flatten().tolist()
    for i in range(0, len(values), 8):
        lines.append("    " + ", ".join(f"{v:.9g}f" if "." in f"{v:.9g}" or "e" in f"{v:.9g}" else f"{v:.9g}.0f" for v in values[i : i + 8]) + ",")
    return "\n".join(lines + ["};"])


torch.manual_seed(1)
weight = torch.nn.Parameter(torch.randn(COUNT))
start, ema = weight.detach().clone(), weight.detach().clone()
grads = torch.randn(STEPS, COUNT) * torch.logspace(-4, 1, COUNT)
norms, values, averages = [], [], []
optimiser = torch.optim.AdamW([weight], lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, foreach=False)
for grad in grads:
    weight.grad = grad.clone()
    norms.append(torch.nn.utils.clip_grad_norm_([weight], CLIP))
    optimiser.step()
    ema = EMA * ema + (1 - EMA) * weight.detach()
    values.append(weight.detach().clone())
    averages.append(ema.clone())

text = "\n\n".join(
    [
        "/* Made by optim.py with PyTorch " + torch.__version__.split("+")[0] + ". */",
        f"enum {{ optim_count = {COUNT}, optim_steps = {STEPS} }};\n"
        f"static const double optim_lr = {LR}, optim_beta1 = {BETAS[0]}, optim_beta2 = {BETAS[1]}, optim_eps = {EPS},\n"
        f"                    optim_decay = {DECAY}, optim_ema = {EMA}, optim_clip = {CLIP};",
        rows("optim_start", start),
        "/* [steps][count] */\n" + rows("optim_grad", grads),
        "/* The gradients' norms before clipping, [steps]. */\n" + rows("optim_norm", torch.stack(norms)),
        "/* Weights and their average after each step, [steps][count]. */\n" + rows("optim_value", torch.stack(values)),
        rows("optim_average", torch.stack(averages)),
    ]
)
pathlib.Path(__file__).with_name("optim.h").write_text(text + "\n")
