# %% [markdown]
# # Messages, bytes and reductions of an evaluation
#
# Counts every MPI call of DOLFINx, PETSc and this package alike: a small library that is loaded before MPI's
# counts what passes through. Of a run of 12 evaluations the last 6 are taken, and for each kind of call the
# busiest rank. Writes `demos/results/communication.json`. Needs a C compiler (as DOLFINx does) and mpirun.
#
#     ./with-fenicsx python3 demos/benchmark_communication.py

# %%
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# %% [markdown]
# A neighbourhood exchange counts as one message for each neighbour to which something goes.

# %%
NAMES = [
    "messages",
    "message bytes",
    "reductions",
    "reduction bytes",
    "broadcasts",
    "broadcast bytes",
    "others",
]
CASES = [
    (ranks, task, method)
    for task, method in (
        ("cantilever_3d_32x16x16_0.12", "evaluate"),
        ("cantilever_3d_32x16x16_0.12", "oc"),
        ("cantilever_3d_32x16x16_0.12", "lean-cnn-lbfgs"),
        ("cantilever_3d_64x32x32_0.12", "evaluate"),
        ("mbb_beam_192x64_0.4", "cnn-lbfgs"),
    )
    for ranks in (2, 4)
]


COUNTED = """
import ctypes, json, sys
import numpy as np
from mpi4py import MPI
from dolfinx_neural_topo.study import profile

counts = []


class Counter(profile.Stopwatch):
    def lap(self):
        super().lap()
        numbers = np.empty(7)
        ctypes.CDLL(None).mpi_counts(ctypes.c_void_p(numbers.ctypes.data))
        counts.append(numbers)


profile.Stopwatch = Counter
profile.profile(sys.argv[1], sys.argv[2], evaluations=12)
busiest = counts[11] - counts[5]
MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, busiest, op=MPI.MAX)
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps([round(number / 6, 1) for number in busiest]))
"""


# %%
def count(library: Path, ranks: int, task: str, method: str) -> list[float]:
    launched = ("OMPI_COMM", "PMIX_", "PMI_", "PRTE_JOB")  # what an MPI launcher left there for this process
    environment = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
    environment |= {"OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    command = ["mpirun", "-n", str(ranks), "--oversubscribe", "-x", f"LD_PRELOAD={library}"]
    program = [sys.executable, "-c", COUNTED, task, method]
    done = subprocess.run([*command, *program], env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


with tempfile.TemporaryDirectory() as name:
    library = Path(name) / "count.so"
    source = Path(__file__).with_name("count_mpi.c")
    subprocess.run(["mpicc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    records = []
    for ranks, task, method in CASES:
        each = dict(zip(NAMES, count(library, ranks, task, method), strict=True))
        records.append(
            {"task": task, "method": method, "ranks": ranks, "each evaluation, busiest rank": each}
        )
        print(json.dumps(records[-1]), flush=True)

results = Path(__file__).parent / "results"
results.mkdir(exist_ok=True)
(results / "communication.json").write_text(json.dumps(records, indent=1) + "\n")
