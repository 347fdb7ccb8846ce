#!/usr/bin/env python3
"""Writes golden/store/: a file of every number type as safetensors' own writer lays it out, with the float32 value of each
number beside it. Needs torch, numpy and safetensors."""

import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent / "store"
here.mkdir(exist_ok=True)

halves = np.concatenate([np.arange(0, 65536, 97), [0, 1, 0x3FF, 0x400, 0x7BFF, 0x7C00, 0x7C01, 0x8000, 0xFC00]])
bytes_ = torch.arange(256, dtype=torch.uint8)
halves = torch.from_numpy(halves.astype(np.uint16))
values = {
    "BOOL": torch.tensor([True, False, True]),
    "U8": bytes_.clone(),
    "I8": bytes_.view(torch.int8),
    "F8_E5M2": bytes_.view(torch.float8_e5m2),
    "F8_E4M3": bytes_.view(torch.float8_e4m3fn),
    "I16": torch.tensor([0, 1, -1, 32767, -32768], dtype=torch.int16),
    "U16": torch.tensor([0, 1, 65535], dtype=torch.uint16),
    "F16": halves.view(torch.float16),
    "BF16": halves.view(torch.bfloat16),
    "I32": torch.tensor([0, -1, 2147483647, -2147483648], dtype=torch.int32),
    "U32": torch.tensor([0, 1, 4294967295], dtype=torch.uint32),
    "F32": torch.tensor([[0.0, -0.0, 1.5], [1e-45, 3.4e38, float("-inf")]]),
    "F64": torch.tensor([0.1, 1e-300, -1 / 3, float("inf")], dtype=torch.float64),
    "I64": torch.tensor([0, -1, 2**63 - 1, -(2**63), 16777217]),
    "U64": torch.from_numpy(np.array([0, 1, 2**64 - 1, 2**63 + 12345], dtype=np.uint64)),
}
tensors = {}
for name, x in values.items():
    tensors["x." + name] = x.clone()
    f = torch.from_numpy(x.numpy().astype(np.float32)) if name.startswith("U") else x.to(torch.float32)
    tensors["f." + name] = f.clone()
tensors["empty"] = torch.zeros(3, 0, 2)
tensors["scalar"] = torch.tensor(2.5)
tensors['na"me \u20ac'] = torch.tensor([7], dtype=torch.int64)
save_file(tensors, here / "dtypes.safetensors", metadata={"format": "pt"})
