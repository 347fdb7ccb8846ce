#!/usr/bin/env python3
"""Pictures of shapes with exact captions, and a judge that reads a picture back.

    shapes.py make FOLDER [--count 6000] [--seed 0]   pictures with captions that are not held out: 000000.png and 000000.txt, ...
    shapes.py held [--count 240] [--seed 1]           captions that are held out, one a line, as many of each kind
    shapes.py judge X.safetensors...                  how many samples of `vane sample` show what their prompts say
    shapes.py check                                   whether the judge reads its own pictures right

A caption is of one of three kinds:

    a small red circle                       size, colour, shape
    three green squares                      count, colour, shape
    a blue triangle left of a red circle     two colours, two shapes, a relation

One in five of all captions, by a hash of what it says, is never made: the words are known from others, their combination is new.
The judge knows nothing of the caption while it reads: it finds the connected spots that stand out from the ground, and of each
its colour (the nearest of the palette), its shape (how much of its box it fills), its size and its place. A picture is right if
that is what the caption says, and nothing else is there. Python's standard library is enough.
"""

import argparse
import array
import hashlib
import json
import os
import random
import struct
import sys
import zlib

SIDE = 32
GROUND = (24, 24, 28)
COLOURS = {"red": (225, 45, 45), "green": (45, 170, 60), "blue": (55, 90, 235), "yellow": (240, 210, 50), "purple": (150, 60, 190),
           "white": (240, 240, 240)}  # fmt: skip
SHAPES = ["circle", "square", "triangle"]
SIZES = {"small": (8, 9), "large": (15, 17)}
COUNTS = {"two": 2, "three": 3}
RELATIONS = ["left of", "right of", "above", "below"]
EACH = (9, 10)  # sides of one of several
PAIR = (10, 12)  # and of one of a pair
KINDS = ["size", "count", "relation"]

# ---- captions


def captions():
    """All of them, by kind."""
    one = [(c, s) for c in COLOURS for s in SHAPES]
    return {
        "size": [f"a {z} {c} {s}" for z in SIZES for c, s in one],
        "count": [f"{n} {c} {s}s" for n in COUNTS for c, s in one],
        "relation": [f"a {c} {s} {r} a {d} {t}" for r in RELATIONS for c, s in one for d, t in one if c != d],
    }


def meaning(caption):
    """One caption of those that say the same: a left of b, and b right of a."""
    for r, other in (("right of", "left of"), ("below", "above")):
        if f" {r} " in caption:
            a, b = caption.split(f" {r} ")
            return f"{b} {other} {a}"
    return caption


def is_held(caption):
    return hashlib.sha256(meaning(caption).encode()).digest()[0] % 5 == 0


def parse(caption):
    """What a caption says: the kind, and (shape, colour) of each thing."""
    words = caption.split()
    for r in RELATIONS:
        if f" {r} " in caption:
            first, second = (part.split() for part in caption.split(f" {r} "))
            return "relation", r, [(first[2], first[1]), (second[2], second[1])]
    if words[0] in COUNTS:
        return "count", COUNTS[words[0]], [(words[2][:-1], words[1])] * COUNTS[words[0]]
    return "size", words[1], [(words[3], words[2])]


# ---- pictures


def covers(shape, side, x, y):
    """Whether (x, y) from the box's corner lies in the shape."""
    if shape == "square":
        return 0 <= x < side and 0 <= y < side
    if shape == "circle":
        r = side / 2
        return (x - r) ** 2 + (y - r) ** 2 < r * r
    return 0 <= y < side and abs(x - side / 2) < y / 2


def draw(picture, shape, colour, side, left, top):
    """Blends the shape in, by the part of each pixel that it covers."""
    n = 4
    for y in range(int(top), min(SIDE, int(top + side) + 1)):
        for x in range(int(left), min(SIDE, int(left + side) + 1)):
            hit = sum(covers(shape, side, x + (i + 0.5) / n - left, y + (j + 0.5) / n - top) for i in range(n) for j in range(n))
            if hit:
                p, a = picture[y * SIDE + x], hit / n / n
                picture[y * SIDE + x] = tuple(round((1 - a) * u + a * v) for u, v in zip(p, colour))


def place(r, kind, what):
    """A box (side, left, top) for each thing."""
    spot = lambda side, low, high: r.uniform(low, max(low, high - side))
    if kind == "size":
        side = r.uniform(*SIZES[what])
        return [(side, spot(side, 1, SIDE - 1), spot(side, 1, SIDE - 1))]
    if kind == "count":
        for _ in range(10000):
            boxes = [(s, spot(s, 1, SIDE - 1), spot(s, 1, SIDE - 1)) for s in (r.uniform(*EACH) for _ in range(what))]
            apart = lambda a, b: max(abs(a[1] + a[0] / 2 - b[1] - b[0] / 2), abs(a[2] + a[0] / 2 - b[2] - b[0] / 2)) > (a[0] + b[0]) / 2 + 2.5
            if all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
                return boxes
        raise RuntimeError("no place")
    a, b = r.uniform(*PAIR), r.uniform(*PAIR)
    near, far = r.uniform(1, 4), r.uniform(SIDE - 4 - b, SIDE - 1 - b)
    across = r.uniform(8, SIDE - 8)
    first, second = (a, near, across + r.uniform(-2, 2) - a / 2), (b, far, across + r.uniform(-2, 2) - b / 2)
    if what in ("right of", "below"):
        first, second = (a, SIDE - near - a, first[2]), (b, SIDE - far - b, second[2])
    if what in ("above", "below"):
        first, second = (first[0], first[2], first[1]), (second[0], second[2], second[1])
    return [first, second]


def make(caption, r):
    kind, what, things = parse(caption)
    picture = [GROUND] * (SIDE * SIDE)
    for (shape, colour), (side, left, top) in zip(things, place(r, kind, what)):
        draw(picture, shape, COLOURS[colour], side, left, top)
    return picture


def write_png(path, picture):
    rows = b"".join(b"\0" + bytes(v for p in picture[y * SIDE : (y + 1) * SIDE] for v in p) for y in range(SIDE))
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)))
        f.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


# ---- the judge

SPECK = 8  # pixels: fewer are nothing
STANDS_OUT = 75  # from the ground


def distance(a, b):
    return sum((u - v) ** 2 for u, v in zip(a, b)) ** 0.5


def spots(picture):
    """Connected pixels that stand out from the ground."""
    out = [distance(p, GROUND) > STANDS_OUT for p in picture]
    found = []
    for start in range(SIDE * SIDE):
        if not out[start]:
            continue
        out[start], spot, edge = False, [], [start]
        while edge:
            at = edge.pop()
            spot.append(at)
            x, y = at % SIDE, at // SIDE
            for nx, ny in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
                if 0 <= nx < SIDE and 0 <= ny < SIDE and out[ny * SIDE + nx]:
                    out[ny * SIDE + nx] = False
                    edge.append(ny * SIDE + nx)
        if len(spot) >= SPECK:
            found.append(spot)
    return found


def read_spot(picture, spot):
    """(shape, colour, side, x, y)."""
    inner = sorted((picture[i] for i in spot), key=lambda p: -distance(p, GROUND))[: max(1, len(spot) // 2)]
    mean = tuple(sum(p[k] for p in inner) / len(inner) for k in range(3))
    colour = min(COLOURS, key=lambda c: distance(COLOURS[c], mean))
    full = distance(COLOURS[colour], GROUND)
    part = {i: min(1, distance(picture[i], GROUND) / full) for i in spot}  # of a pixel that is covered
    rows, columns = [0.0] * SIDE, [0.0] * SIDE
    for i, v in part.items():
        rows[i // SIDE] += v
        columns[i % SIDE] += v
    width, height, area = max(rows), max(columns), sum(rows)
    filled = area / (width * height)
    shape = "square" if filled > 0.9 else "circle" if filled > 0.7 else "triangle"
    middle = lambda sums: sum(k * v for k, v in enumerate(sums)) / area
    return shape, colour, (width + height) / 2, middle(columns), middle(rows)


def judge(picture, caption):
    """Whether the picture is wholly right, and whether its colours are those that the caption names (of how many things is another question)."""
    kind, what, things = parse(caption)
    found = [read_spot(picture, s) for s in spots(picture)]
    colours = {f[1] for f in found} == {t[1] for t in things}
    if sorted(f[:2] for f in found) != sorted(things):
        return False, colours
    if kind == "size":
        return (found[0][2] > 12) == (what == "large"), colours
    if kind == "relation":
        a = next(f for f in found if f[:2] == things[0])
        b = next(f for f in found if f[:2] == things[1])
        dx, dy = b[3] - a[3], b[4] - a[4]
        far, across = {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[what]
        return far > abs(across) and far > 4, colours
    return True, colours


def read_samples(path):
    """Pictures and their prompts, and each one's guidance."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(size))
        body = f.read()

    def numbers(name, letter):
        begin, end = head[name]["data_offsets"]
        values = array.array(letter, body[begin:end])
        if sys.byteorder == "big":
            values.byteswap()
        return head[name]["shape"], values

    (n, channels, height, width), x = numbers("samples", "f")
    _, guidance = numbers("guidance", "d")
    assert (channels, height, width) == (3, SIDE, SIDE), head["samples"]["shape"]
    prompts, plane = json.loads(head["__metadata__"]["prompts"]), SIDE * SIDE
    byte = lambda v: min(255, max(0, round(127.5 * (v + 1)))) if v == v else 0
    for i in range(n):
        at = i * 3 * plane
        yield [tuple(byte(x[at + c * plane + k]) for c in range(3)) for k in range(plane)], prompts[i], guidance[i]


# ---- commands


def command_make(a):
    r, free = random.Random(a.seed), {k: [c for c in v if not is_held(c)] for k, v in captions().items()}
    os.makedirs(a.folder, exist_ok=True)
    for i in range(a.count):
        caption = r.choice(free[KINDS[i % 3]])
        write_png(os.path.join(a.folder, f"{i:06}.png"), make(caption, r))
        with open(os.path.join(a.folder, f"{i:06}.txt"), "w") as f:
            f.write(caption + "\n")


def command_held(a):
    r, held = random.Random(a.seed), {k: [c for c in v if is_held(c)] for k, v in captions().items()}
    order = {k: r.sample(v, len(v)) for k, v in held.items()}
    for i in range(a.count):
        kind = order[KINDS[i % 3]]
        print(kind[i // 3 % len(kind)])


def command_judge(a):
    table = {}
    for path in a.files:
        for picture, caption, guidance in read_samples(path):
            right, colours = judge(picture, caption)
            for kind in (parse(caption)[0], "all"):
                row = table.setdefault(guidance, {}).setdefault(kind, [0, 0, 0])
                for k, v in enumerate((1, right, colours)):
                    row[k] += v
    print("guidance   wholly right   colours   " + "   ".join(KINDS))
    for guidance in sorted(table):
        t = table[guidance]
        share = lambda kind, k: 100 * t[kind][k] / t[kind][0] if kind in t else float("nan")
        print(f"{guidance:8g}   {share('all', 1):11.1f}%   {share('all', 2):6.1f}%   " + "   ".join(f"{share(k, 1):{len(k) - 1}.0f}%" for k in KINDS))


def command_check(a):
    """Every caption, several times; the judge must read each right, and no other caption of its kind."""
    r, wrong, fooled, count = random.Random(a.seed), 0, 0, 0
    for kind, all_of in captions().items():
        for caption in all_of if kind != "relation" else r.sample(all_of, 300):
            for _ in range(4):
                picture, other = make(caption, r), r.choice([c for c in all_of if meaning(c) != meaning(caption)])
                count += 1
                wrong += judge(picture, caption) != (True, True)
                fooled += judge(picture, other)[0]
    print(f"{count - wrong} of {count} pictures read right; {fooled} taken for another caption")
    return wrong + fooled > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, count, seed in (("make", 6000, 0), ("held", 240, 1), ("check", 0, 2)):
        verb = verbs.add_parser(name)
        verb.add_argument("--count", type=int, default=count)
        verb.add_argument("--seed", type=int, default=seed)
        if name == "make":
            verb.add_argument("folder")
    verbs.add_parser("judge").add_argument("files", nargs="+")
    a = parser.parse_args()
    sys.exit({"make": command_make, "held": command_held, "judge": command_judge, "check": command_check}[a.verb](a) or 0)


if __name__ == "__main__":
    main()
