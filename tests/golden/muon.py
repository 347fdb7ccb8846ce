"""Five steps of torch.optim.Muon on a wide matrix, a tall one and a convolution seen as (out, in k k), and of torch.optim.AdamW on a
bias, with a factor of the gradients and a moving average of the weights. PyTorch orthogonalises in bfloat16; here its own code runs
in double instead, so that no rounding but that of vane is left. Writes muon.h beside this file. Made with PyTorch 2.13 (CPU):
python muon.py"""
import pathlib

import torch

STEPS, LR, DECAY, MOMENTUM, SCALE, EMA = 5, 2e-2, 0.1, 0.9, 0.5, 0.75
SHAPES = [(3, 7), (7, 3), (4, 2, 3, 2), (3,)]

torch.set_default_dtype(torch.float64)
torch.Tensor.bfloat16 = lambda self: self.clone()


def rows(name, values):
    lines = [f"static const float {name}[] = {{"]
    values = torch.cat([v.flatten() for v in values]).tolist()
    for i in range(0, len(values), 6):
        texts = [f"{v:.9g}" for v in values[i : i + 6]]
        lines.append("    " + ", ".join(t + ("f" if "." in t or "e" in t else ".0f") for t in texts) + ",")
    return "\n".join(lines + ["};"])


def flat(tensor):
    return tensor.flatten(1) if tensor.ndim > 1 else tensor


torch.manual_seed(2)
# numbers that floats hold, so that both programs begin with the same
start = [torch.randn(s).float().double() for s in SHAPES]
grads = [[(torch.randn(s) * 10 ** (step % 3 - 1)).float().double() for s in SHAPES] for step in range(STEPS)]
weights = [torch.nn.Parameter(flat(v).clone()) for v in start]
average = [w.detach().clone() for w in weights]
muon = torch.optim.Muon(weights[:3], lr=LR, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
adamw = torch.optim.AdamW(weights[3:], lr=LR, weight_decay=DECAY, foreach=False)
values, averages = [], []
for step in grads:
    for weight, grad in zip(weights, step):
        weight.grad = flat(grad) * SCALE
    muon.step()
    adamw.step()
    average = [EMA * a + (1 - EMA) * w.detach() for a, w in zip(average, weights)]
    values += [w.detach().clone() for w in weights]
    averages += average

text = "\n\n".join(
    [
        "/* Made by muon.py with PyTorch " + torch.__version__.split("+")[0] + ". */",
        f"enum {{ muon_steps = {STEPS}, muon_count = {sum(v.numel() for v in start)} }};\n"
        f"static const double muon_lr = {LR}, muon_decay = {DECAY}, muon_scale = {SCALE}, muon_ema = {EMA};\n"
        f'static const char muon_choice[] = "muon:momentum={MOMENTUM}";',
        "/* The weights one after the other: " + ", ".join(str(list(s)) for s in SHAPES) + ". */\n" + rows("muon_start", start),
        "/* [steps][count] */\n" + rows("muon_grad", [g for step in grads for g in step]),
        "/* Weights and their average after each step, [steps][count]. */\n" + rows("muon_value", values),
        rows("muon_average", averages),
    ]
)
pathlib.Path(__file__).with_name("muon.h").write_text(text + "\n")
