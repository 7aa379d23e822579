# %% [markdown]
# # Time to a built design
#
# Whole processes, from the command line to all files written: neural multi-start and its last stage, 200
# evaluations in all on small tasks (or `--evaluations N`), 150 on large ones, on two ranks of one thread.
# Writes seconds, objective and pieces of each task to `demos/results/built_seconds.json` (or
# `built_seconds_N.json`), and prints the medians of each size.
#
#     ./with-fenicsx python3 demos/benchmark_built.py [TASK ...]
#
# With `--paper PYTHON CHECKOUT`, what an evaluation of the paper's own code takes is measured after each run:
# its network and L-BFGS on the same task, on both cores. PYTHON is an interpreter that has TensorFlow 2.15
# and scikit-sparse (CHOLMOD), CHECKOUT a clone of github.com/google-research/neural-structural-optimization.

# %%
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from dolfinx_neural_topo.study import provenance

FAMILIES = {
    64: "crane_64x64_0.3 dam_64x64_0.2 drawbridge_64x64_0.2 canyon_bridge_64x64_0.16 l_shape_0.4_64x64_0.4",
    128: "crane_128x128_0.2 dam_128x128_0.15 drawbridge_128x128_0.15 canyon_bridge_128x128_0.12 "
    "l_shape_0.4_128x128_0.3",
    256: "crane_256x256_0.15 dam_256x256_0.1 drawbridge_256x256_0.1",
}
PAPER_EVALUATIONS = 1000
PAPER = """
import json, sys, time
task, evaluations = sys.argv[1:]
from neural_structural_optimization import models, problems, topo_api, train
problem = problems.PROBLEMS_BY_NAME[task]
model = models.CNNModel(seed=0, args=topo_api.specified_task(problem))
train.train_lbfgs(model, 2)  # what is made once is made here
begin = time.perf_counter()
losses = train.train_lbfgs(model, int(evaluations)).loss
print(json.dumps((time.perf_counter() - begin) / len(losses)))
"""


def paper_seconds(python, checkout, task):
    """Return the seconds of one evaluation by the paper's own code."""
    paths = {"PYTHONPATH": checkout, "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": os.environ["PATH"]}
    command = [python, "-c", PAPER, task, "20"]
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


parser = argparse.ArgumentParser(description="Time to a built design; see the head of this file.")
parser.add_argument("tasks", nargs="*", default=" ".join(FAMILIES.values()).split(), metavar="TASK")
parser.add_argument("--evaluations", type=int, default=200, metavar="N", help="budget of small tasks (200)")
parser.add_argument("--paper", nargs=2, metavar=("PYTHON", "CHECKOUT"), help="time the paper's own code too")
arguments = parser.parse_args()
records, seconds, ratios = [], defaultdict(list), defaultdict(list)
launched = ("OMPI_COMM", "PMIX_", "PMI_", "PRTE_JOB")  # what an MPI launcher left there for this process
environment = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
environment["OMP_NUM_THREADS"] = "1"
for task in arguments.tasks:
    size = task.rpartition("x")[2].partition("_")[0]
    with tempfile.TemporaryDirectory() as folder:
        command = ["mpirun", "-n", "2", sys.executable, "-m", "dolfinx_neural_topo", "run", task, "--method"]
        command += ["neural-multistart", "--buildable", "--out", folder, "--json", "--evaluations"]
        command += ["150" if int(size) > 128 else str(arguments.evaluations)]
        begin, load = time.perf_counter(), os.getloadavg()[0]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        took = time.perf_counter() - begin
    built = json.loads(done.stdout.strip().splitlines()[-1])["built"]
    seconds[size].append(took)
    records.append({"task": task, "seconds": round(took, 1), "load_before": round(load, 1), **built})
    if arguments.paper:
        each = paper_seconds(*arguments.paper, task)
        records[-1]["paper_seconds_each"] = round(each, 4)
        ratios[size].append(PAPER_EVALUATIONS * each / took)
    print(
        f"{task:<32} {took:6.1f} s   compliance {built['compliance']:.5g}, {built['components']} pieces",
        flush=True,
    )
for size, each in seconds.items():
    print(f"{size} x {size}: median {statistics.median(each):.1f} s of {len(each)}")
for size, each in ratios.items():
    print(
        f"{size} x {size}: {PAPER_EVALUATIONS} evaluations of the paper's own code take {min(each):.0f} to "
        f"{max(each):.0f} times as long, median {statistics.median(each):.0f}"
    )
name = "built_seconds" + ("" if arguments.evaluations == 200 else f"_{arguments.evaluations}")
path = Path(__file__).parent / "results" / f"{name}.json"
about = {"commit": provenance.commit(), "versions": provenance.versions(), "cores": os.cpu_count()}
path.write_text(json.dumps({**about, "runs": records}, indent=1) + "\n")
