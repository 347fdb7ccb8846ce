#!/usr/bin/env python3
"""Writes images/: small JPEGs with what libjpeg makes of them, and pictures resampled by Pillow.

    images.py [FOLDER]

NAME.jpg and NAME.png belong together; resize-in.png at W x H under Pillow's antialiased bilinear filter is resize-W-H.png.
"""

import os
import sys

import numpy as np
from PIL import Image


def scene(height, width):
    """Smooth colours with a hard edge and some grain, so that every filter and block has something to get wrong."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [127 + 100 * np.sin(x / 5 + k) * np.cos(y / 7 - k) for k in range(3)]
    picture = np.stack(planes, -1) + rng.normal(0, 12, (height, width, 3))
    picture[height // 3 : height // 2, width // 4 : width // 2] = [250, 20, 60]
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name)

    picture = scene(27, 35)
    kinds = {
        "colour": (picture, dict(quality=90, subsampling=0)),
        "subsampled": (picture, dict(quality=75, subsampling=2)),
        "progressive": (picture, dict(quality=75, progressive=True)),
        "grey": (picture.convert("L"), dict(quality=80)),
    }
    for name, (image, options) in kinds.items():
        image.save(path(name + ".jpg"), **options)
        Image.open(path(name + ".jpg")).save(path(name + ".png"), optimize=True)

    picture.save(path("resize-in.png"), optimize=True)
    for size in [(8, 8), (17, 40), (70, 11), (35, 27), (1, 1)]:
        picture.resize(size, Image.BILINEAR).save(path("resize-%d-%d.png" % size), optimize=True)


main()
