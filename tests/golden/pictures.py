#!/usr/bin/env python3
"""Writes pictures/: one small picture in every way that files keep it, and what Pillow makes of each.

    pictures.py [FOLDER]

NAME.jpg, NAME.png or NAME.webp belongs to the plain NAME.rgb.png. Needs webpmux (Debian's package webp) for the animation.
"""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures")
WIDTH, HEIGHT = 13, 9


def scene(width=WIDTH, height=HEIGHT):
    """No two corners alike, so that no two of the eight ways to lie are."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [20 + 200 * x / width, 230 - 190 * y / height, 128 + 90 * np.sin(x / 3 + y / 2)]
    picture = np.stack(planes, -1)
    picture[:3, :4] = [250, 30, 30]
    return Image.fromarray(picture.round().astype(np.uint8))


def alpha():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(((x * 23 + y * 41) % 256).astype(np.uint8))


def path(name):
    return os.path.join(FOLDER, name)


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data)


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def expect(name, picture):
    picture.save(path(name + ".rgb.png"), optimize=True)


def on_white(picture):
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return white


def exif(orientation, order):
    """A camera's directory in small: make, orientation, an offset to nothing."""
    entries = [(0x010F, 2, 4, b"cam\0"), (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)),
               (0x8769, 4, 1, struct.pack(order + "I", 0x7FFFFFFF))]
    body = struct.pack(order + "H", len(entries))
    body += b"".join(struct.pack(order + "HHI", *e[:3]) + e[3] for e in entries) + struct.pack(order + "I", 0)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + body


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def orientations():
    stored = scene()
    for orientation in range(1, 9):
        block = exif(orientation, "<>"[orientation % 2])
        jpeg = encode(stored, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0" + block)
        webp = encode(stored, "WEBP", lossless=True, exif=block)
        plain = encode(stored, "PNG", optimize=True)
        assert plain[-12:] == chunk(b"IEND", b"")
        write("turned-%d.jpg" % orientation, jpeg)
        expect("turned-%d" % orientation, ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB"))
        write("lossless-%d.webp" % orientation, webp)
        expect("lossless-%d" % orientation, ImageOps.exif_transpose(Image.open(io.BytesIO(webp))).convert("RGB"))
        if orientation == 6:
            write("before-6.png", plain[:33] + chunk(b"eXIf", block) + plain[33:])
            write("behind-6.png", plain[:-12] + chunk(b"eXIf", block) + plain[-12:])
            expect("before-6", ImageOps.exif_transpose(Image.open(path("before-6.png"))))
            expect("behind-6", ImageOps.exif_transpose(Image.open(path("before-6.png"))))


def inks():
    """CMYK as Pillow writes it; without Adobe's marker; and YCCK, which is the same with the marker's last byte 2."""
    jpeg = encode(scene().convert("RGB").convert("CMYK"), "JPEG", quality=95, subsampling=0)
    stored = Image.open(io.BytesIO(jpeg))
    black = Image.fromarray(np.asarray(alpha()) // 2)
    jpeg = encode(Image.merge("CMYK", stored.split()[:3] + (black,)), "JPEG", quality=95, subsampling=0)
    at = jpeg.index(b"\xff\xee")
    size = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    assert jpeg[at + 4 : at + 9] == b"Adobe" and jpeg[at + 15] == 0
    files = {"cmyk": jpeg, "cmyk-bare": jpeg[:at] + jpeg[at + 2 + size :],
             "ycck": jpeg[: at + 15] + b"\2" + jpeg[at + 16 :]}
    for name, data in files.items():
        write(name + ".jpg", data)
        expect(name, Image.open(path(name + ".jpg")).convert("RGB"))


def transparency():
    rgba = scene().convert("RGBA")
    rgba.putalpha(alpha())
    grey = rgba.convert("LA")
    palette = scene().quantize(16)
    for name, picture, options in [("rgba", rgba, {}), ("la", grey, {}),
                                   ("palette-clear", palette, {"transparency": bytes(range(0, 256, 17))})]:
        write(name + ".png", encode(picture, "PNG", optimize=True, **options))
        flat = on_white(Image.open(path(name + ".png")))
        expect(name, flat.convert("L") if name == "la" else flat)
    write("clear.webp", encode(rgba, "WEBP", lossless=True, exact=True))
    expect("clear", on_white(Image.open(path("clear.webp"))))
    write("clear-lossy.webp", encode(rgba, "WEBP", quality=90))
    expect("clear-lossy", on_white(Image.open(path("clear-lossy.webp"))))


def depths():
    """Pillow keeps 16-bit grey whole; 8 bits of it are v * 255 / 65535, rounded."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    values = ((x * 5003 + y * 9973 + 77) % 65536).astype(np.uint16)
    write("grey16.png", encode(Image.fromarray(values), "PNG", optimize=True))
    read = np.asarray(Image.open(path("grey16.png"))).astype(float)
    expect("grey16", Image.fromarray((read * 255 / 65535).round().astype(np.uint8)))
    write("one-bit.png", encode(scene().convert("1"), "PNG"))
    expect("one-bit", Image.open(path("one-bit.png")).convert("L"))
    write("palette.png", encode(scene().quantize(16), "PNG", optimize=True))
    expect("palette", Image.open(path("palette.png")).convert("RGB"))


def profiles():
    """A gamma of 1 would change every shade where it is heeded; the profile has a signature and no content."""
    profile = b"\0" * 36 + b"acsp" + b"\0" * 88
    write("profile.png", encode(scene(), "PNG", icc_profile=profile, optimize=True))
    expect("profile", scene())
    gamma = encode(scene(), "PNG", optimize=True)
    write("gamma.png", gamma[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + gamma[33:])
    expect("gamma", scene())


def webp():
    write("lossy.webp", encode(scene(35, 27), "WEBP", quality=80))
    expect("lossy", Image.open(path("lossy.webp")).convert("RGB"))
    scene(6, 4).save(path("one.webp"), quality=90)
    second = scene(6, 4).transpose(Image.ROTATE_180).convert("RGBA")
    second.putalpha(alpha().crop((0, 0, 6, 4)))  # so that Pillow keeps what no frame covers as transparent
    second.save(path("two.webp"), lossless=True)
    subprocess.run(["webpmux", "-frame", path("one.webp"), "+100+4+2", "-frame", path("two.webp"), "+100+0+0", "-bgcolor",
                    "255,0,0,255", "-o", path("frames.webp")], check=True, capture_output=True)
    os.remove(path("one.webp"))
    os.remove(path("two.webp"))
    expect("frames", on_white(Image.open(path("frames.webp"))))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for part in (orientations, inks, transparency, depths, profiles, webp):
        part()


main()
