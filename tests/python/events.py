"""The event files of `vane log --tensorboard`, read by TensorBoard and by tbparse: every number of
log.jsonl is there, at its step. Usage: events.py VANE"""
import json
import math
import os
import subprocess
import sys
import tempfile

from tbparse import SummaryReader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

vane = os.path.abspath(sys.argv[1])
with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    subprocess.run([vane, "train", "points:moons", "--out", "run", "--steps", "200", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([vane, "log", "run", "--tensorboard", "tb"], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in open("run/log.jsonl")]

    events = EventAccumulator("tb/run", size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    table = SummaryReader("tb").scalars
    for key in sorted({key for line in lines for key in line} - {"step"}):
        wanted = [(line["step"], line[key]) for line in lines if key in line]
        assert key in tags["scalars"], (key, tags)
        found = [(e.step, e.value) for e in events.Scalars(key)]
        parsed = [tuple(row) for row in table[table.tag == key][["step", "value"]].values]
        assert len(found) == len(parsed) == len(wanted), key
        for (step, value), *others in zip(wanted, found, parsed):
            for other in others:
                assert other[0] == step and math.isclose(other[1], value, rel_tol=1e-6), (key, step, value, other)
        walls = [e.wall_time for e in events.Scalars(key)]
        assert all(abs((b - a) - (w["seconds"] - v["seconds"])) < 1e-6 for a, b, v, w in zip(walls, walls[1:], *[[line for line in lines if key in line][i:] for i in (0, 1)]))
        print(f"ok - {key}: {len(found)} values")

    # a file that a killed writer left short is read as far as it goes
    path = "tb/run/events.out.tfevents.0.vane"
    whole = open(path, "rb").read()
    open(path, "wb").write(whole[:-5])
    events = EventAccumulator("tb/run")
    events.Reload()
    assert len(events.Scalars("loss")) == len(lines) - 1
    print("ok - a short file")
