#!/usr/bin/env python3
"""Example: python3 tools/emoji.py emoji

Writes the emoji of Debian's fonts-noto-color-emoji as pictures, a folder for each group of Unicode's emoji-test.txt (package
unicode-data): a small set of class folders in colour, without skin tones of one person's drawing. Each has its Unicode name as a
caption beside it with --captions. Needs python3-fonttools.
"""
import argparse
import re
from pathlib import Path

from fontTools.ttLib import TTFont

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
NAMES = "/usr/share/unicode/emoji/emoji-test.txt"
SKIN = range(0x1F3FB, 0x1F400)
VARIATION = 0xFE0F


def emoji(path):
    """(group, code points, name) of each that is fully qualified."""
    group = None
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = line[9:]
        m = re.match(r"([0-9A-F ]+?) *; fully-qualified *# \S+ E[\d.]+ (.+)", line)
        if m:
            yield group, [int(c, 16) for c in m[1].split()], m[2]


def ligatures(font):
    """What a sequence of glyphs becomes, by its tuple."""
    found = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, sets in getattr(table, "ligatures", {}).items():
                for ligature in sets:
                    found[(first, *ligature.Component)] = ligature.LigGlyph
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="FOLDER", help="a folder that does not exist yet")
    parser.add_argument("--captions", action="store_true", help="write NAME.txt beside NAME.png")
    a = parser.parse_args()
    font = TTFont(FONT)
    cmap, joined = font.getBestCmap(), ligatures(font)
    pictures = {name: glyph.imageData for strike in font["CBDT"].strikeData for name, glyph in strike.items()}
    out = Path(a.out)
    out.mkdir(parents=True)
    counts = {}
    for group, points, name in emoji(NAMES):
        if any(p in SKIN for p in points):
            continue
        glyphs = tuple(cmap[p] for p in points if p in cmap and p != VARIATION)
        glyph = glyphs[0] if len(glyphs) == 1 else joined.get(glyphs)
        if glyph not in pictures:
            continue
        folder = out / re.sub(r"[^a-z]+", "-", group.lower())
        folder.mkdir(exist_ok=True)
        stem = re.sub(r"[^\w]+", "-", name).strip("-")
        if (folder / f"{stem}.png").exists():  # "keycap: #" and "keycap: *"
            stem += f"-{points[0]:x}"
        (folder / f"{stem}.png").write_bytes(pictures[glyph])
        if a.captions:
            (folder / f"{stem}.txt").write_text(name + "\n", encoding="utf-8")
        counts[folder.name] = counts.get(folder.name, 0) + 1
    for name, count in counts.items():
        print(f"{count:5} {name}")


main()
