"""Stores of studies, plans and reports: rank 0 alone, as `study` has it."""

from __future__ import annotations

import json

from attacks.case import Topic, right
from attacks.world import folder, nan
from dolfinx_neural_topo.study.plan import parse_seeds, plan
from dolfinx_neural_topo.study.report import report
from dolfinx_neural_topo.study.store import Store
from dolfinx_neural_topo.study.study import Workers

t = Topic("files")

RECORD = {
    "schema": 1,
    "task": "mbb_beam_96x32_0.5",
    "method": "oc",
    "seed": 0,
    "start": "uniform",
    "budget": 3,
    "status": "failed",
    "error": "none",
}
ALONE = {"ranks": (1,)}


def store(content: str | bytes) -> Store:
    made = Store(folder())
    made.path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return made


LINES = {
    "text": "hello\n",
    "half a line in the middle": json.dumps(RECORD)[:50] + "\n" + json.dumps(RECORD) + "\n",
    "a list": "[1, 2]\n",
    "a number": "3\n",
    "null": "null\n",
    "without a task": json.dumps({k: v for k, v in RECORD.items() if k != "task"}) + "\n",
    "without a schema": json.dumps({k: v for k, v in RECORD.items() if k != "schema"}) + "\n",
    "another schema": json.dumps({**RECORD, "schema": 99}) + "\n",
    "NaN as seed": json.dumps({**RECORD, "seed": nan}) + "\n",
    "a list as task": json.dumps({**RECORD, "task": ["a"]}) + "\n",
    "text as budget": json.dumps({**RECORD, "budget": "many"}) + "\n",
    "bytes that are no text": b"\xff\xfe\x00\x01\n",
    "without a status": json.dumps({k: v for k, v in RECORD.items() if k != "status"}) + "\n",
}
for name, content in LINES.items():
    t.refuse(f"records.jsonl: {name}", "records.jsonl|line", lambda c=content: store(c).records(), **ALONE)
t.accept(
    "records.jsonl: a last line without end",
    lambda: right(len(store(json.dumps(RECORD) + "\n" + json.dumps(RECORD)[:40]).records()) == 1, "records"),
    **ALONE,
)
t.accept(
    "records.jsonl: empty lines",
    lambda: right(len(store("\n\n" + json.dumps(RECORD) + "\n\n").records()) == 1, "records"),
    **ALONE,
)
t.refuse("records.jsonl is a folder", "records.jsonl", lambda: as_folder().records(), **ALONE)
t.refuse("report of an empty store", "run", lambda: report(Store(folder()), folder()), **ALONE)
t.refuse(
    "report of records without results",
    "run|record",
    lambda: report(store(json.dumps({**RECORD, "status": "ok"}) + "\n"), folder()),
    **ALONE,
)
t.refuse(
    "report of an unknown method",
    "run|method",
    lambda: report(store(json.dumps(RECORD) + "\n"), folder(), ["nope"]),
    **ALONE,
)


def as_folder():
    made = Store(folder())
    made.path.mkdir()
    return made


def two_writers():
    made = Store(folder())
    with made.writing(), Store(made.folder).writing():
        pass


t.refuse("two writers of a store", "another study", two_writers, **ALONE)
t.values("Store", "folder", lambda v: Store(v).records(), ["", 3, None], **ALONE)
for name in ("jobs", "ranks", "ranks_from", "threads"):
    t.values("Workers", name, lambda v, n=name: Workers(**{n: v}), [0, -1, 1.5, "2", nan], **ALONE)
t.values(
    "parse_seeds",
    "seeds",
    parse_seeds,
    ["", "a", "4-0", "-1", "1.5", "0-", "1e23", "0-99999999999", None, 3],
    **ALONE,
)
t.values(
    "plan",
    "evaluations",
    lambda v: plan("mbb_beam_96x32_0.5", ["oc"], [0], v),
    [0, -1, 2.5, nan, "10", None],
    **ALONE,
)
t.values(
    "plan",
    "methods",
    lambda v: plan("mbb_beam_96x32_0.5", v, [0], 3),
    [["nope"], [3], None, []],
    **ALONE,
    says="method",
)
t.values(
    "plan",
    "tasks",
    lambda v: plan(v, ["oc"], [0], 3),
    ["nope_*", "", [], None, 3],
    **ALONE,
    says="task|pattern",
)
