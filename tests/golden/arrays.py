#!/usr/bin/env python3
"""Writes arrays/*.npz as numpy saves them: what vane reads, and what it must refuse in words.

    arrays.py [FOLDER]

Pixel values are (131 n + 17 y + 5 x + 71 c) mod 256, point values n - d / 4, labels n mod 3.
"""

import os
import sys

import numpy as np

N, H, W, D = 7, 4, 5, 3


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "arrays")
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name + ".npz")

    n, y, x, c = np.ogrid[0:N, 0:H, 0:W, 0:3]
    colour = ((131 * n + 17 * y + 5 * x + 71 * c) % 256).astype(np.uint8)
    grey = np.ascontiguousarray(colour[..., 0])
    planar = np.ascontiguousarray(colour.transpose(0, 3, 1, 2))
    points = np.arange(N)[:, None] - np.arange(D)[None] / 4
    labels = np.arange(N) % 3

    np.savez(path("grey"), images=grey, labels=labels.astype(np.uint8))
    np.savez_compressed(path("colour"), images=colour, labels=labels.astype(np.int64), class_names=np.array(["a", "b\u00e9", "c \u2615"]))
    np.savez(path("planar"), images=planar, labels=labels.astype(">i4"), class_names=np.array([b"x", b"yy", b"z", b"never"]))
    np.savez(path("unlabelled"), images=colour)
    np.savez(path("points32"), points=points.astype("<f4"), labels=labels.astype(np.int16))
    np.savez_compressed(path("points64"), points=points.astype(">f8"), labels=labels.astype(np.uint32))

    # with noise: floats, in which noise of a number x is 10 x + 1
    floats = colour.astype(np.float32) / 127.5 - 1
    last = lambda a: np.ascontiguousarray(a.transpose(0, 3, 1, 2))
    np.savez(path("pairs-points"), points=points.astype("<f4"), noise=10 * points + 1, labels=labels)
    np.savez(path("pairs-bytes"), images=colour, noise=10 * floats + 1)
    np.savez_compressed(path("pairs-planar"), images=last(floats), noise=last(10 * floats + 1), labels=labels)

    # captions: of letters and of bytes, one of each sample or several, of which the second may be empty
    texts = ["a red \u00e9clair", "\u732b\u304c\u5ea7\u308b", "  e\u0301 \U0001f469\u200d\U0001f467 ", "", "a dog", "a dog", "x" * 300]
    several = np.array([[t, f"{i} more" if i % 2 else ""] for i, t in enumerate(texts)])
    np.savez(path("captions"), images=grey, captions=np.array(texts), labels=labels)
    np.savez_compressed(path("captions-several"), images=grey, captions=several.astype(">U300"))
    np.savez_compressed(path("captions-bytes"), images=grey, captions=np.array([t.encode() for t in texts]))
    np.savez(path("captions-points"), points=points, captions=np.array(texts), labels=labels)
    np.savez(path("no-utf8"), images=grey, captions=np.array([b"a", b"b\xe9", b"", b"", b"", b"", b""]))
    np.savez(path("no-character"), images=grey, captions=np.array(["a", "b\ud800", "", "", "", "", ""]))
    np.savez(path("no-zero"), images=grey, captions=np.array(["a\0b", "b", "", "", "", "", ""]))
    np.savez(path("no-caption"), images=grey, captions=np.array([""] * N))
    np.savez(path("no-caption-count"), images=grey, captions=np.array(["a"] * 6))
    np.savez(path("no-caption-text"), images=grey, captions=labels)
    np.savez(path("no-caption-axes"), images=grey, captions=np.zeros((N, 1, 1), "U3"))

    np.savez(path("no-fortran"), images=np.asfortranarray(grey), labels=labels)
    np.savez(path("no-half"), points=points.astype(np.float16))
    np.savez(path("no-float-images"), images=grey.astype(np.float32))
    np.savez(path("no-channels"), images=np.zeros((N, H, W, 2), np.uint8))
    np.savez(path("no-count"), images=grey, labels=labels[:-1])
    np.savez(path("no-negative"), images=grey, labels=labels - 1)
    np.savez(path("no-names"), images=grey, labels=labels, class_names=np.array(["a", "b"]))
    np.savez(path("no-objects"), images=grey, labels=labels, class_names=np.array(["a", None, 3], dtype=object))
    np.savez(path("no-records"), points=np.zeros(N, dtype=[("x", "f4"), ("y", "f4")]))
    np.savez(path("no-arrays"), pictures=grey)
    np.savez(path("no-finite"), points=np.where(points == 2, np.nan, points))
    np.savez(path("no-both"), images=grey, points=points)
    np.savez(path("no-samples"), images=grey[:0], labels=labels[:0])
    np.savez(path("no-noise-shape"), points=points, noise=points[:, :2])
    np.savez(path("no-noise-count"), images=grey, noise=floats[:6, ..., 0])
    np.savez(path("no-noise-bytes"), images=grey, noise=grey)
    np.savez(path("no-real-labels"), images=grey, labels=labels.astype(np.float32))


main()
