# %% [markdown]
# # Messages, bytes and reductions of an evaluation
#
# Counts every MPI call of DOLFINx, PETSc and this package alike: a small library that is loaded before MPI's
# counts what passes through. A run of 12 evaluations less one of 6 leaves what 6 evaluations cost, without
# set-up. Writes `demos/results/communication.json`. Needs a C compiler (as DOLFINx does) and mpirun.
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
        ("mbb_beam_192x64_0.4", "cnn-lbfgs"),
    )
    for ranks in (2, 4)
]


# %%
def count(folder: Path, ranks: int, task: str, method: str, evaluations: int) -> list[float]:
    launched = ("OMPI_COMM", "PMIX_", "PMI_", "PRTE_JOB")  # what an MPI launcher left there for this process
    environment = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "COUNTS": str(folder / "counts"),
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
    command = [
        "mpirun",
        "-n",
        str(ranks),
        "--oversubscribe",
        "-x",
        f"LD_PRELOAD={folder / 'count.so'}",
        "-x",
        "COUNTS",
    ]
    profile = [
        "-m",
        "dolfinx_neural_topo",
        "profile",
        task,
        "--method",
        method,
        "--evaluations",
        str(evaluations),
    ]
    subprocess.run(
        [*command, sys.executable, *profile], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    return [float(number) for number in (folder / "counts").read_text().split()]


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    source = Path(__file__).with_name("count_mpi.c")
    subprocess.run(["mpicc", "-O2", "-shared", "-fPIC", source, "-o", folder / "count.so"], check=True)
    records = []
    for ranks, task, method in CASES:
        few, many = (count(folder, ranks, task, method, evaluations) for evaluations in (6, 12))
        each = {kind: round((b - a) / 6, 1) for kind, a, b in zip(NAMES, few, many, strict=True)}
        records.append(
            {"task": task, "method": method, "ranks": ranks, "each evaluation, busiest rank": each}
        )
        print(json.dumps(records[-1]), flush=True)

results = Path(__file__).parent / "results"
results.mkdir(exist_ok=True)
(results / "communication.json").write_text(json.dumps(records, indent=1) + "\n")
