#!/usr/bin/env python3
"""What NumPy, SciPy, scikit-image and prdc say of small sets: measures/*.safetensors.

features: `samples` [60,6] and `data` [50,6]; values by name. points: two sets of 40 points in the plane, and of 40 and 30 on a line.
images: pairs of 16 x 20 images of two channels. network: a VaneFeatures network of random weights, its config, images and what
PyTorch's convolutions make of them.

    python tests/golden/measures.py        # needs numpy, scipy, scikit-image, prdc 0.2, torch, safetensors
"""
import json
import pathlib

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from prdc import compute_prdc
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist, pdist
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HERE = pathlib.Path(__file__).parent / "measures"
rng = np.random.default_rng(15)


def frechet(x, y):
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(root)))


def unbiased(kernel, x, y):
    n, m = len(x), len(y)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    return float((xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean())


def over_pairs(x, y):
    width = np.median(pdist(y))
    return {
        "kd": unbiased(lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, x, y),
        "energy": unbiased(lambda a, b: -cdist(a, b), x, y),
        "mmd": unbiased(lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)), x, y),
        "mmd-bandwidth": float(width),
    }


def neighbours(x, y):
    three, five = compute_prdc(y, x, nearest_k=3), compute_prdc(y, x, nearest_k=5)
    return {"precision": three["precision"], "recall": three["recall"], "density": five["density"], "coverage": five["coverage"]}


def w2(x, y):
    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(cost[scipy.optimize.linear_sum_assignment(cost)].mean()))


def w2_line(x, y):
    """Of unlike counts: every quantile, by repeating each point as often as the other set has points."""
    a, b = np.repeat(np.sort(x[:, 0]), len(y)), np.repeat(np.sort(y[:, 0]), len(x))
    return float(np.sqrt(((a - b) ** 2).mean()))


def write(name, arrays, values):
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    save_file(arrays, HERE / f"{name}.safetensors", metadata={"values": json.dumps(values)})


def main():
    HERE.mkdir(exist_ok=True)
    f32 = np.float32
    mix = rng.standard_normal((6, 6))
    x = (rng.standard_normal((60, 6)) @ mix).astype(f32)
    y = (0.8 * rng.standard_normal((50, 6)) @ mix + 0.5).astype(f32)
    a, b = x.astype(np.float64), y.astype(np.float64)
    write("features", {"samples": x, "data": y}, {"fd": frechet(a, b), **over_pairs(a, b), **neighbours(a, b)})

    p, q = rng.standard_normal((40, 2)).astype(f32), (rng.standard_normal((40, 2)) * [1, 2] + [1, 0]).astype(f32)
    write("points", {"samples": p, "data": q}, {"w2": w2(p.astype(float), q.astype(float))})
    s, t = rng.standard_normal((40, 1)).astype(f32), (rng.standard_normal((30, 1)) + 1).astype(f32)
    write("line", {"samples": s, "data": t}, {"sliced-w2": w2_line(s.astype(float), t.astype(float))})

    u = np.tanh(rng.standard_normal((5, 2, 16, 20))).astype(f32)
    v = np.clip(u + 0.2 * rng.standard_normal(u.shape), -1, 1).astype(f32)
    psnr = [peak_signal_noise_ratio(i, j, data_range=2) for i, j in zip(u.astype(float), v.astype(float))]
    ssim = [np.mean([structural_similarity(i, j, data_range=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
                     for i, j in zip(ci, cj)]) for ci, cj in zip(u.astype(float), v.astype(float))]
    write("images", {"samples": u, "data": v}, {"psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim))})

    folder = HERE / "network"
    folder.mkdir(exist_ok=True)
    widths, weights, h = [4, 6], {}, torch.from_numpy(u)
    means = []
    for i, out in enumerate(widths):
        w, bias = rng.standard_normal((out, h.shape[1], 3, 3)).astype(f32) / 3, rng.standard_normal(out).astype(f32)
        weights[f"levels.{i}.conv.weight"], weights[f"levels.{i}.conv.bias"] = w, bias
        h = torch.relu(torch.nn.functional.conv2d(h, torch.from_numpy(w), torch.from_numpy(bias), stride=1 + (i > 0), padding=1))
        means.append(h.mean((2, 3)))
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "VaneFeatures", "in_channels": 2, "sample_size": [16, 20], "block_out_channels": widths}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write("network-features", {"samples": u, "features": torch.cat(means, 1).numpy()}, {})


if __name__ == "__main__":
    main()
