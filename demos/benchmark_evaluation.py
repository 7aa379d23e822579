# %% [markdown]
# # What an evaluation costs
#
# Runs the command `profile` for one case after the other, each in a process of its own, and writes what it
# printed, with the facts of the machine, to `demos/results/evaluation_GROUP.json`. Groups:
#
# - `2d`: objective and gradient alone, and whole runs with the paper's network, at four sizes;
# - `3d`: the cantilever by optimality criteria from 32x16x16 cells on, and with a lean network;
# - `ranks`: the same case on one and on two ranks;
# - `networks`: networks and their optimizer on one and on two ranks;
# - `large` and `largest`: 128x64x64 and 192x104x104 cells on two ranks, optimality criteria and a lean
#   network; half an hour each.
#
#     ./with-fenicsx python3 demos/benchmark_evaluation.py 2d 3d ranks
#
# A quiet machine is needed: the load before each case is written down beside it.

# %%
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from dolfinx_neural_topo.study import provenance

SIZES_2D = [
    "mbb_beam_96x32_0.5",
    "mbb_beam_192x64_0.4",
    "mbb_beam_384x128_0.3",
    "cantilever_beam_full_256x256_0.2",
]
GROUPS = {
    "2d": [(2, 1, task, method, 24) for task in SIZES_2D for method in ("evaluate", "cnn-lbfgs")]
    + [(2, 1, SIZES_2D[-1], "lean-cnn-lbfgs", 24)],
    "3d": [
        (1, 1, "cantilever_3d_32x16x16_0.12", "oc", 20),
        (1, 1, "cantilever_3d_64x32x32_0.12", "oc", 20),
        (1, 1, "cantilever_3d_64x32x32_0.12", "mma-svanberg", 20),
        (2, 1, "cantilever_3d_64x32x32_0.12", "lean-cnn-lbfgs", 12),
    ],
    "ranks": [(1, ranks, "cantilever_3d_64x32x32_0.12", "oc", 12) for ranks in (1, 2)]
    + [(1, ranks, "mbb_beam_384x128_0.3", "oc", 12, "--solver", "gmg") for ranks in (1, 2)],
    "networks": [
        (1, ranks, task, method, 12)
        for task, method in (
            ("mbb_beam_192x64_0.4", "cnn-lbfgs"),
            ("cantilever_beam_full_256x256_0.2", "cnn-lbfgs"),
            ("cantilever_3d_64x32x32_0.12", "lean-cnn-lbfgs"),
        )
        for ranks in (1, 2)
    ],
    "large": [(1, 2, "cantilever_3d_128x64x64_0.12", method, 30) for method in ("lean-cnn-lbfgs", "oc")],
    "largest": [(1, 2, "cantilever_3d_192x104x104_0.12", method, 3) for method in ("lean-cnn-lbfgs", "oc")],
}  # (threads, ranks, task, method, evaluations, more arguments)
REPEATS = {
    "2d": 3,
    "3d": 1,
    "ranks": 3,
    "networks": 1,
    "large": 1,
    "largest": 1,
}  # the run of median ratio is kept, with all ratios

# %% [markdown]
# Processes are started without what an MPI launcher may have left in the environment.


# %%
def run(code: list[str], threads: int, ranks: int = 1) -> str:
    launched = ("OMPI_COMM", "PMIX_", "PMI_", "PRTE_JOB")  # what an MPI launcher left there for this process
    environment = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
    environment["OMP_NUM_THREADS"] = str(threads)
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launcher, sys.executable, *code], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(code)} failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def machine() -> dict:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processor": names[0].partition(": ")[2] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20, 1),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


# %% [markdown]
# Memory is given beside that of an interpreter which has only imported the package.

# %%
IMPORTED = (
    "import resource; from dolfinx_neural_topo.study import profile;"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)

for group in sys.argv[1:] or ("2d", "3d", "ranks"):
    cases = []
    imported = round(float(run(["-c", IMPORTED], 1)), 1)
    for threads, ranks, task, method, evaluations, *more in GROUPS[group]:
        load = os.getloadavg()[0]
        arguments = ["profile", task, "--method", method, "--evaluations", str(evaluations), *more, "--json"]
        code = ["-m", "dolfinx_neural_topo", *arguments]
        repeated = [json.loads(run(code, threads, ranks)) for _ in range(REPEATS[group])]
        ratios = [round(each["ratio"], 3) for each in repeated]
        case = sorted(repeated, key=lambda each: each["ratio"])[len(repeated) // 2]
        in_matvecs = round(case["evaluation_seconds"] / case["matvec_seconds"], 1)
        case |= {"evaluations": evaluations, "threads": threads, "load_before": round(load, 2)}
        case |= {"evaluation_matvecs": in_matvecs, "imported_rss_mb": imported, "arguments": more}
        case |= {"ratios": ratios}
        cases.append(case)
        milliseconds, memory = 1e3 * case["evaluation_seconds"], case["peak_rss_mb"]
        print(f"{task} {method}, {ranks} ranks: {milliseconds:.1f} ms, {case['ratio']:.2f} x bare,", end=" ")
        print(f"{in_matvecs} matvecs, {memory:.0f} MB, load {load:.1f}", flush=True)
        record = {"machine": machine(), "cases": cases}
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"evaluation_{group}.json").write_text(json.dumps(record, indent=1) + "\n")
