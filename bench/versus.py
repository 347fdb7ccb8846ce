#!/usr/bin/env python3
"""Example: python3 bench/versus.py OLD/build/vane build/vane --config unet,dit-128 --mode infer

Times two builds of vane on the same networks (those of compare.py) and prints new over old: of the
least step, of the median pair, and peak memory. The two take turns, and who begins changes each
round, so that whatever else the machine does meets both. What follows -- goes to vane bench.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import CONFIGS, MODES


def measure(program, folder, mode, extra):
    command = [program, "bench", str(folder), "--mode", mode, "--json", "--quiet", *extra]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)}: {ran.stderr.strip()}")
    return json.loads(ran.stdout)


def versus(old, new, folder, mode, rounds, extra):
    took, peak = {old: [], new: []}, {old: 0.0, new: 0.0}
    for turn in range(rounds):
        for program in (old, new) if turn % 2 == 0 else (new, old):
            result = measure(program, folder, mode, extra)
            took[program].append(result["min_ms"])
            peak[program] = max(peak[program], result["peak_rss_mb"])
    pairs = [b / a for a, b in zip(took[old], took[new])]
    return (
        f"{min(took[new]) / min(took[old]):6.3f} {statistics.median(pairs):6.3f} "
        f"{min(pairs):6.3f}-{max(pairs):.3f}  {peak[old]:8.1f} {peak[new]:8.1f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--config", default=",".join(CONFIGS), help="of compare.py (default all)")
    parser.add_argument("--mode", default=",".join(MODES))
    parser.add_argument("--rounds", type=int, default=6)
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args, extra = parser.parse_args(words[:end]), words[end + 1 :]
    print(f"{'':18} {'least':>6} {'median':>6} {'pairs':>13}  {'MB old':>8} {'MB new':>8}")
    for name in args.config.split(","):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(CONFIGS[name]))
            for mode in args.mode.split(","):
                where = Path(folder) / "config.json"
                line = versus(args.old, args.new, where, mode, args.rounds, extra)
                print(f"{name + ' ' + mode:18} {line}", flush=True)


if __name__ == "__main__":
    main()
