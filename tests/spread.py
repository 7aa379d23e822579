"""How far the numbers that demos and tests state move from one processor to another.

    ./with-fenicsx python3 tests/spread.py demos/demo_mbb_beam.py
    ./with-fenicsx python3 tests/spread.py tests/test_readme.py::TEST

Runs each under the BLAS kernels of five processors, with and without the wide instructions of PyTorch, on one
and two threads, from the start and from one disturbed in the twelfth digit: 40 runs, in an order in which the
first five, ten, ... already vary everything. Numbers are those given to `expect` in a demo, to
`record_property` in a test. "Room" is how far the bounds of a demo lie outside of what was found, in widths:
less than 1 is too near. Records are added to demos/results/spread.jsonl as they come; what is there is
not run again. Writes demos/results/spread.md.
"""

import argparse
import json
import math
import os
import runpy
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "demos" / "results" / "spread.jsonl"
PROCESSORS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen")
DISTURBANCE = 1e-12
MARK = "spread: "


def settings():
    """Yield all 40, any five in a row with all processors and both of everything else."""
    for k in range(40):
        rest = (3 * (k % 5) + k // 5) % 8
        yield {
            "blas": PROCESSORS[k % 5],
            "torch": ("default", "avx2")[rest % 2],
            "threads": 1 + rest // 2 % 2,
            "disturbance": DISTURBANCE * (rest // 4),
        }


def measure(item, setting):
    """Run a demo or a test in a process of its own; return its numbers, or the end of what it said."""
    threads = str(setting["threads"])
    environment = os.environ | {
        "OPENBLAS_CORETYPE": setting["blas"],
        "ATEN_CPU_CAPABILITY": setting["torch"],
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    command = [sys.executable, __file__, "--here", repr(setting["disturbance"]), item]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    return {"error": (done.stdout + done.stderr)[-2000:]}


def run_here(item, disturbance):
    """Run a demo or a test in this process and print its numbers, marked."""
    disturb(disturbance)
    numbers, bounds = {}, {}
    if "::" in item:
        import pytest

        class Recorder:
            def pytest_runtest_logreport(self, report):
                for name, value in report.user_properties if report.when == "call" else ():
                    case = report.nodeid.partition("[")[2].rstrip("]")
                    numbers[f"{name} ({case})" if case else name] = float(value)

        pytest.main(["-q", "-p", "no:cacheprovider", item], plugins=[Recorder()])
    else:
        sys.path.insert(0, str(ROOT / "demos"))
        import expected

        def record(comm, given):
            for name, (value, *between) in given.items():
                numbers[name], bounds[name] = float(value), [float(bound) for bound in between]

        expected.expect = record
        sys.argv = [item]
        runpy.run_path(item, run_name="__main__")
    if not numbers:
        raise SystemExit(f"{item} has no numbers: no such test, one that failed, or one that records none")
    print("\n" + MARK + json.dumps({"numbers": numbers, "bounds": bounds}), flush=True)


def disturb(size):
    """Disturb the densities or logits that a search starts from, relatively."""
    import numpy as np
    import torch

    from dolfinx_neural_topo.bridge import TopologyObjective
    from dolfinx_neural_topo.density import Design

    random = np.random.default_rng(0)
    initial, values = Design.initial, TopologyObjective.values

    def factor(shape):
        return 1.0 + size * random.uniform(-1.0, 1.0, tuple(shape))

    def first_noisy(self, logits):
        first = self.last is None
        return values(self, logits * torch.from_numpy(factor(logits.shape)) if first else logits)

    if size > 0.0:
        Design.initial = lambda self: initial(self) * factor(initial(self).shape)
        TopologyObjective.values = first_noisy


def read():
    """Return the records so far."""
    return [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []


def table(records):
    """Return the records as a page."""
    values, runs, bounds = defaultdict(list), defaultdict(list), {}
    for record in records:
        runs[record["item"]].append(record)
        bounds |= {(record["item"], name): between for name, between in record.get("bounds", {}).items()}
        for name, value in record.get("numbers", {}).items():
            values[record["item"], name].append(value)
    lines = [
        "# How far numbers move from one processor to another",
        "",
        "Made by `tests/spread.py`; do not edit. Rounding decides where a nonconvex search ends.",
        "",
        "`Room` is how far the bounds lie outside of what was found, in widths; less than 1 is too near. Not",
        "so where the bound is a limit that the search obeys, such as a volume: to that it may be near.",
        "",
        "| run | number | lowest | median | highest | width | bounds | room |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (item, name), v in values.items():
        low, middle, high = min(v), statistics.median(v), max(v)
        width = (high - low) / abs(middle) if middle else high - low
        least, most = bounds.get((item, name), (-math.inf, math.inf))
        free = min(low - least, most - high)
        room = free / (high - low) if high > low else math.copysign(math.inf, free)
        cells = (Path(item).name, name, f"{low:.8g}", f"{middle:.8g}", f"{high:.8g}", f"{100 * width:.2g} %")
        lines.append(f"| {' | '.join(cells)} | {least:.6g} to {most:.6g} | {min(room, 1000):.3g} |")
    lines += ["", "What was run (BLAS kernel / PyTorch / threads / disturbance of the start):", ""]
    for item, done in runs.items():
        each = ", ".join("{blas}/{torch}/{threads}/{disturbance:g}".format(**record) for record in done)
        failed = sum("error" in record for record in done)
        lines.append(f"- `{item}`, {len(done)} runs" + (f", {failed} failed" if failed else "") + f": {each}")
    return "\n".join(lines) + "\n"


def main():
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("items", nargs="*", metavar="DEMO|TEST", help="file of a demo, or FILE::TEST")
    parser.add_argument("--runs", type=int, default=40, metavar="N", help="the first N of the 40 settings")
    parser.add_argument("--here", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here is not None:
        return run_here(arguments.items[0], arguments.here)
    for setting in list(settings())[: arguments.runs]:
        for item in arguments.items:
            key = {"item": item, **setting}
            if any(key.items() <= record.items() for record in read()):
                continue
            record = {**key, **measure(item, setting)}
            with RECORDS.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(*key.values(), record.get("numbers") or record["error"], flush=True)
    page = table(read())
    RECORDS.with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
