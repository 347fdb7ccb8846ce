#!/usr/bin/env python3
"""Text encoders of transformers 5.24 (CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel), vane's own in PyTorch, and what
they answer.

    encoders.py                                              writes encoders/*.safetensors
    encoders.py --vane build/vane --count 160 [--seed 0]     random configs, of the four classes in turn: outputs within 1e-4,
                                                             gradients within 1e-3

A file holds weight.NAME, the inputs, out.NAME of each output, cotangent of the first, and grad.NAME of sum(cotangent * output):
every stride-th number of it, at most 400.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel


class VaneTextEncoder(nn.Module):
    """By the keys of its config; src/nn/text_encoder.c."""

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))
            self.linear_1, self.linear_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x, seen):
            cut = lambda y: y.unflatten(2, (self.heads, -1)).transpose(1, 2)
            h = self.norm1(x)
            h = F.scaled_dot_product_attention(cut(self.to_q(h)), cut(self.to_k(h)), cut(self.to_v(h)), seen[:, None, None, :])
            x = x + self.to_out(h.transpose(1, 2).flatten(2))
            return x + self.linear_2(F.gelu(self.linear_1(self.norm2(x))))

    def __init__(self, vocab_size, width, layers, heads, max_length, pad_token_id):
        super().__init__()
        self.config = dict(vocab_size=vocab_size, width=width, layers=layers, heads=heads, max_length=max_length, pad_token_id=pad_token_id)
        self.token_embedding, self.position_embedding = nn.Embedding(vocab_size, width), nn.Embedding(max_length, width)
        self.layers = nn.ModuleList(self.Block(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, input_ids):
        seen = input_ids != self.config["pad_token_id"]
        x = self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]
        for layer in self.layers:
            x = layer(x, seen)
        x = self.norm_out(x)
        return {"last_hidden_state": x, "pooler_output": (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)}

    def save_pretrained(self, folder):
        os.makedirs(folder)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config_of(self, VaneTextEncoder), f)
        save_file(self.state_dict(), os.path.join(folder, "diffusion_pytorch_model.safetensors"))


HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "encoders")
KEPT = 400
CONFIGS = {CLIPTextModel: CLIPTextConfig, CLIPTextModelWithProjection: CLIPTextConfig, T5EncoderModel: T5Config}
KINDS = [*CONFIGS, VaneTextEncoder]


def build(kind, config, seed):
    torch.manual_seed(seed)
    model = (kind(CONFIGS[kind](**config)) if kind in CONFIGS else kind(**config)).eval()
    with torch.no_grad():
        for p in model.parameters():  # norms and biases that do something, and attention that is neither flat nor one token
            p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.5 / p.shape[-1] ** 0.5))
    return model


def run(model, given):
    """Outputs by vane's names, the first one first."""
    if isinstance(model, VaneTextEncoder):
        return model(**given)
    if isinstance(model, T5EncoderModel):
        return {"last_hidden_state": model(**given).last_hidden_state}
    o = model(**given, output_hidden_states=True)
    out = {"last_hidden_state": o.last_hidden_state, "penultimate": o.hidden_states[-2]}
    if isinstance(model, CLIPTextModel):
        return {**out, "pooler_output": o.pooler_output}
    return {"text_embeds": o.text_embeds, **out}


def texts(r, config, n, tokens, kind):
    """Ids, of which CLIP's end somewhere, or nowhere, or several times, filled up or not; and T5's mask."""
    vocab = config["vocab_size"]
    ids = [[r.randrange(vocab) for _ in range(tokens)] for _ in range(n)]
    if kind is T5EncoderModel:
        mask = [[1] * k + [0] * (tokens - k) for k in (r.randint(1, tokens) for _ in range(n))]
        if r.random() < 0.3:
            mask = [[1] + [r.randint(0, 1) for _ in range(tokens - 1)] for _ in range(n)]  # of nothing there is no gradient
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    if kind is VaneTextEncoder:
        fill = [config["pad_token_id"]] * tokens
        first = (config["pad_token_id"] + 1) % vocab  # a text of nothing has no attention in PyTorch
        return {"input_ids": torch.tensor([([first] + row[1 : r.randint(1, tokens)] + fill)[:tokens] for row in ids])}
    end = vocab - 1 if config["eos_token_id"] == 2 else config["eos_token_id"]
    for row in ids:
        if r.random() < 0.8:
            at = r.randrange(tokens)
            row[at:] = [end] * (tokens - at) if r.random() < 0.5 else [end] + row[at + 1 :]
    return {"input_ids": torch.tensor(ids)}


def reference(model, given, seed):
    out = run(model, given)
    first = next(iter(out.values()))
    cotangent = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    (first * cotangent).sum().backward()
    grads = {k: p.grad if p.grad is not None else torch.zeros_like(p) for k, p in model.named_parameters()}
    return {k: v.detach() for k, v in out.items()}, cotangent, grads


def config_of(model, kind):
    if kind is VaneTextEncoder:
        return {"_class_name": kind.__name__, **model.config}
    config = json.loads(model.config.to_json_string(use_diff=False))
    return {**config, "architectures": [kind.__name__]}


def kept(x):
    flat = x.flatten()
    return flat[:: (flat.numel() + KEPT - 1) // KEPT].contiguous()


CASES = {
    "clip": (CLIPTextModel, dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                                 max_position_embeddings=9, hidden_act="quick_gelu", eos_token_id=7, projection_dim=12), 3, 9),
    "clip-largest": (CLIPTextModel, dict(vocab_size=33, hidden_size=12, intermediate_size=20, num_hidden_layers=1, num_attention_heads=3,
                                         max_position_embeddings=8, hidden_act="gelu", eos_token_id=2, projection_dim=12), 4, 6),
    "clip-projection": (CLIPTextModelWithProjection, dict(vocab_size=30, hidden_size=16, intermediate_size=32, num_hidden_layers=3,
                                                          num_attention_heads=4, max_position_embeddings=7, hidden_act="gelu",
                                                          eos_token_id=2, projection_dim=10), 3, 7),
    "text": (VaneTextEncoder, dict(vocab_size=40, width=16, layers=2, heads=4, max_length=12, pad_token_id=37), 3, 10),
    "t5": (T5EncoderModel, dict(vocab_size=25, d_model=16, d_kv=6, d_ff=20, num_layers=2, num_heads=3, relative_attention_num_buckets=8,
                                relative_attention_max_distance=10, feed_forward_proj="relu"), 2, 14),
    "t5-gated": (T5EncoderModel, dict(vocab_size=25, d_model=12, d_kv=4, d_ff=18, num_layers=3, num_heads=2,
                                      feed_forward_proj="gated-gelu"), 3, 24),
}  # fmt: skip


def write():
    os.makedirs(HERE, exist_ok=True)
    for i, (name, (kind, config, n, tokens)) in enumerate(CASES.items()):
        model = build(kind, config, i)
        given = texts(random.Random(i), config, n, tokens, kind)
        out, cotangent, grads = reference(model, given, i)
        tensors = {**given, "cotangent": cotangent}
        tensors.update({f"out.{k}": v.contiguous() for k, v in out.items()})
        tensors.update({f"weight.{k}": p.detach().clone() for k, p in model.named_parameters()})
        tensors.update({f"grad.{k}": kept(g) for k, g in grads.items()})
        save_file(tensors, os.path.join(HERE, name + ".safetensors"), {"config": json.dumps(config_of(model, kind))})


# ---- random configs


def random_clip(r):
    heads = r.choice([1, 2, 3, 4])
    vocab = r.choice([5, 30, 1000])
    return dict(vocab_size=vocab, hidden_size=heads * r.choice([4, 5, 8, 16]), intermediate_size=r.choice([8, 24, 33]),
                num_hidden_layers=r.choice([1, 2, 3, 5]), num_attention_heads=heads, max_position_embeddings=r.choice([6, 16, 77]),
                hidden_act=r.choice(["quick_gelu", "gelu", "gelu_new", "relu", "silu"]), eos_token_id=r.choice([2, vocab - 1, 3]),
                projection_dim=r.choice([4, 16, 30]), layer_norm_eps=r.choice([1e-5, 1e-6]))  # fmt: skip


def random_t5(r):
    return dict(vocab_size=r.choice([10, 300]), d_model=r.choice([8, 15, 32]), d_kv=r.choice([4, 7, 16]), d_ff=r.choice([12, 40]),
                num_layers=r.choice([1, 2, 4]), num_heads=r.choice([1, 2, 5]), relative_attention_num_buckets=r.choice([4, 7, 16, 32]),
                relative_attention_max_distance=r.choice([10, 20, 128]), layer_norm_epsilon=r.choice([1e-6, 1e-5]),
                feed_forward_proj=r.choice(["relu", "gated-gelu", "gated-silu", "gelu"]))  # fmt: skip


def random_text(r):
    heads = r.choice([1, 2, 4])
    return dict(vocab_size=259, width=heads * r.choice([4, 7, 16]), layers=r.choice([0, 1, 4]), heads=heads, max_length=r.choice([6, 64]),
                pad_token_id=r.choice([256, 0]))  # fmt: skip


def old_names(kind, state, r):
    """Files of earlier versions: another prefix, a buffer of positions, an embedding twice."""
    if kind is CLIPTextModel:
        state = {"text_model." + k: v for k, v in state.items()}
    if kind is not T5EncoderModel:
        state["text_model.embeddings.position_ids"] = torch.arange(9)[None]
    elif r.random() < 0.5:
        state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
    return state


def relative(found, expected, floor=0.0):
    return ((found.double() - expected.double()).norm() / max(expected.double().norm().item(), floor, 1e-30)).item()


def one(vane, seed, dtype):
    r = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    config = {T5EncoderModel: random_t5, VaneTextEncoder: random_text}.get(kind, random_clip)(r)
    tokens = r.choice([1, 2, 5, 6] if kind is not T5EncoderModel else [1, 2, 5, 30, 150])
    model = build(kind, config, seed)
    given = texts(r, config, r.choice([1, 2, 3]), tokens, kind)
    if kind is T5EncoderModel and r.random() < 0.3:
        del given["attention_mask"]
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        model.to(dtype).save_pretrained(at("model"))
        out, cotangent, grads = reference(model.float(), given, seed)
        weights = at("model/model.safetensors")
        if kind in CONFIGS and r.random() < 0.5:
            save_file(old_names(kind, load_file(weights), r), weights, {"format": "pt"})
        save_file({**given, "cotangent": cotangent}, at("in"))
        done = subprocess.run([vane, "forward", at("model"), "--in", at("in"), "--out", at("out.safetensors"), "--grad", at("grad.safetensors")],
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            return f"REFUSED {kind.__name__} {config}: {done.stderr.strip()}", False, (0, 0)
        found, found_grads = load_file(at("out.safetensors")), load_file(at("grad.safetensors"))
    assert set(found) == set(out) and set(found_grads) == {"grad." + k for k in grads}, (set(found), set(out))
    largest = max(g.norm().item() for g in grads.values())
    error = max(relative(found[k], v) for k, v in out.items())
    worst = max(relative(found_grads["grad." + k], g, 1e-3 * largest) for k, g in grads.items())
    good = error < 1e-4 and worst < 1e-3
    return f"{'ok' if good else 'WRONG'} {kind.__name__:28} out {error:.1e} grad {worst:.1e}" + ("" if good else f" {config}"), good, (error, worst)


def compare(vane, count, seed, dtype):
    bad = [[] for _ in KINDS]
    errors = [[(0.0, 0.0)] for _ in KINDS]
    for s in range(seed, seed + count):
        line, good, error = one(vane, s, dtype)
        bad[s % len(KINDS)].append(not good)
        errors[s % len(KINDS)].append(error)
        if not good:
            print(s, line)
    for kind, wrong, off in zip(KINDS, bad, errors):
        out, grad = (max(x) for x in zip(*off))
        print(f"{kind.__name__:28} {len(wrong) - sum(wrong)} of {len(wrong)} right; output off by {out:.1e} at most, gradients by {grad:.1e}")
    return sum(map(sum, bad))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vane")
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="of the weights in the file: float16 or bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if args.vane:
        sys.exit(compare(args.vane, args.count, args.seed, getattr(torch, args.dtype)) > 0)
    write()
