"""Draw built designs, completed at their planes of symmetry: eight in `selection.png`, all in `gallery.png`.

./with-fenicsx python3 demos/results/built/selection.py
"""

import json
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.image import imread

from dolfinx_neural_topo.tasks import get_task

HERE = Path(__file__).parent
TASKS = (
    "thin_support_bridge_128x128_0.2",
    "causeway_bridge_top_128x128_0.2",
    "roof_128x128_0.15",
    "mbb_beam_192x64_0.4",
    "multistory_building_64x128_0.4",
    "crane_128x128_0.2",
    "cantilever_beam_two_point_128x96_0.3",
    "drawbridge_128x128_0.15",
)

METHOD = "neural-multistart-built"

records = map(json.loads, (HERE / "records.jsonl").read_text().splitlines())
records = {record["task"]: record for record in records if record["method"] == METHOD}


def draw(axis, name, size):
    """Draw one design, with its category and compliance."""
    task = get_task(name)
    (file,) = (HERE / "pictures").glob(f"{name}-{METHOD}-*.png")
    picture = imread(file)[..., 0]
    left, right = task.mirror
    picture = np.hstack([picture[:, ::-1]] * left + [picture] + [picture[:, ::-1]] * right)
    axis.imshow(picture, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_title(f"{task.category.replace('_', ' ')}: {records[name]['compliance']:.4g}", fontsize=size)
    axis.set_xticks([])
    axis.set_yticks([])


figure, axes = pyplot.subplots(2, 4, figsize=(12, 4.6), height_ratios=(1, 2.6))
for name, axis in zip(TASKS, axes.flat, strict=True):
    draw(axis, name, 9)
figure.tight_layout()
figure.savefig(HERE / "selection.png", dpi=110)

figure, axes = pyplot.subplots(-(-len(records) // 8), 8, figsize=(14, 18))
for axis in axes.flat:
    axis.set_axis_off()
for name, axis in zip(sorted(records, key=lambda name: records[name]["cells"]), axes.flat, strict=False):
    draw(axis, name, 6)
figure.tight_layout()
figure.savefig(HERE / "gallery.png", dpi=80)
