#!/usr/bin/env python3
"""LlamaForCausalLM of transformers 5.24, and what it answers.

    llama_random.py                                          writes llama/*.safetensors
    llama_random.py --vane build/vane --count 40 [--seed 0]  random configs: logits within 1e-4, gradients within 1e-3; and that
                                                             rotary positions that vane does not know are refused by name

The files are as encoders.py writes them.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import encoders

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama")


def build(config, seed):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager")).eval()
    with torch.no_grad():
        for p in model.parameters():  # norms and biases that do something, and attention that is neither flat nor one token
            p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.7 / p.shape[-1] ** 0.5))
    return model


def reference(model, ids, seed):
    model.zero_grad()
    logits = model(input_ids=ids).logits
    cotangent = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    (logits * cotangent).sum().backward()
    return logits.detach(), cotangent, {k: p.grad for k, p in model.named_parameters()}


CASES = {
    "grouped": (dict(vocab_size=23, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
                     num_key_value_heads=2, attention_bias=True), 3, 11),
    "tied": (dict(vocab_size=30, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, head_dim=6,
                  tie_word_embeddings=True, mlp_bias=True, rms_norm_eps=1e-5,
                  rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=500.0)), 2, 40),
}  # fmt: skip


def write():
    os.makedirs(HERE, exist_ok=True)
    for i, (name, (config, n, tokens)) in enumerate(CASES.items()):
        model = build(config, i)
        ids = torch.randint(config["vocab_size"], (n, tokens), generator=torch.Generator().manual_seed(i))
        logits, cotangent, grads = reference(model, ids, i)
        tensors = {"input_ids": ids, "cotangent": cotangent, "out.logits": logits.contiguous()}
        tensors.update({f"weight.{k}": p.detach().clone() for k, p in model.named_parameters()})
        tensors.update({f"grad.{k}": encoders.kept(g) for k, g in grads.items()})
        save_file(tensors, os.path.join(HERE, name + ".safetensors"), {"config": json.dumps(encoders.config_of(model, LlamaForCausalLM))})


# ---- random configs


def draw(r):
    head, own = r.choice([2, 4, 6, 16]), r.random() < 0.3
    heads = r.choice([1, 2, 4, 6])
    config = dict(vocab_size=r.choice([2, 30, 1000]), hidden_size=heads * (r.choice([3, 5, 8]) if own else head),
                  intermediate_size=r.choice([8, 24, 33]), num_hidden_layers=r.choice([1, 2, 3, 5]), num_attention_heads=heads,
                  num_key_value_heads=r.choice([k for k in (1, 2, 3, heads) if heads % k == 0]),
                  hidden_act=r.choice(["silu", "silu", "gelu", "gelu_pytorch_tanh", "relu"]), rms_norm_eps=r.choice([1e-5, 1e-6]),
                  attention_bias=r.random() < 0.3, mlp_bias=r.random() < 0.3, tie_word_embeddings=r.random() < 0.4)  # fmt: skip
    if own:
        config["head_dim"] = head
    kind = r.choice(["none", "default", "linear", "linear", "dynamic"] if head > 2 else ["none", "linear"])
    if kind != "none":
        config["rope_parameters"] = dict(rope_type=kind, rope_theta=r.choice([100.0, 1e4, 5e5]))
        if kind != "default":
            config["rope_parameters"]["factor"] = r.choice([2.0, 4.0, 1.5])
    return config


def as_version_4(config):
    """A config.json as transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else {"type": rope.pop("rope_type"), **rope}
    return config


def one(vane, seed, dtype):
    r = random.Random(seed)
    config = draw(r)
    tokens = r.choice([1, 2, 7, 33, 90])
    model = build(config, seed)
    ids = torch.randint(config["vocab_size"], (r.choice([1, 2, 3]), tokens), generator=torch.Generator().manual_seed(seed))
    kind = config.get("rope_parameters", {}).get("rope_type", "default")
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)  # noqa: E731
        model.to(dtype).save_pretrained(at("model"))
        logits, cotangent, grads = reference(model.float(), ids, seed)
        if r.random() < 0.4:
            with open(at("model/config.json")) as f:
                old = as_version_4(json.load(f))
            with open(at("model/config.json"), "w") as f:
                json.dump(old, f)
        save_file({"input_ids": ids, "cotangent": cotangent}, at("in"))
        done = subprocess.run([vane, "forward", at("model"), "--in", at("in"), "--out", at("out.safetensors"), "--grad", at("grad.safetensors")],
                              capture_output=True, text=True)  # fmt: skip
        if kind == "dynamic":
            good = done.returncode == 1 and 'rope_type "dynamic" is not supported' in done.stderr
            return f"{'ok' if good else 'WRONG'} refused: {done.stderr.strip()}", good, (0, 0)
        if done.returncode:
            return f"REFUSED {config}: {done.stderr.strip()}", False, (0, 0)
        found, found_grads = load_file(at("out.safetensors"))["logits"], load_file(at("grad.safetensors"))
    assert set(found_grads) == {"grad." + k for k in grads}, set(found_grads)
    largest = max(g.norm().item() for g in grads.values())
    error = encoders.relative(found, logits)
    worst = max(encoders.relative(found_grads["grad." + k], g, 1e-3 * largest) for k, g in grads.items())
    good = error < 1e-4 and worst < 1e-3
    return f"{'ok' if good else 'WRONG'} out {error:.1e} grad {worst:.1e}" + ("" if good else f" {config}"), good, (error, worst)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vane")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="of the weights in the file: float16 or bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not args.vane:
        sys.exit(write())
    bad, largest = 0, (0.0, 0.0)
    for s in range(args.seed, args.seed + args.count):
        line, good, errors = one(args.vane, s, getattr(torch, args.dtype))
        bad += not good
        largest = tuple(max(p) for p in zip(largest, errors))
        print(s, line, flush=True)
    print(f"{args.count - bad} of {args.count} right; logits off by {largest[0]:.1e} at most, gradients by {largest[1]:.1e}")
    sys.exit(bad > 0)
