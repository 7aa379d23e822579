"""Run demos cell by cell, and keep what each cell printed and drew: docs/executed/NAME.json and pictures.

docs/build --execute                                        # all that changed since they were last run
./with-fenicsx python3 docs/execute.py mbb_beam stress      # these
"""

import contextlib
import io
import json
import subprocess
import sys
import types
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
DEMOS = HERE.parent / "demos"
KEPT = HERE / "executed"
sys.path.insert(0, str(HERE / "_extensions"))

from cells import cells, fingerprint  # noqa: E402


def changed():
    """Return the names of the demos whose code is not the one that was run."""
    for demo in sorted(DEMOS.glob("demo_*.py")):
        name = demo.stem.removeprefix("demo_")
        record = KEPT / f"{name}.json"
        if not record.is_file() or json.loads(record.read_text())["code"] != fingerprint(demo.read_text()):
            yield name


def run(name):
    """Run one demo, and write its record; as elsewhere, a number outside its bounds is an error."""
    demo = DEMOS / f"demo_{name}.py"
    text = demo.read_text()
    for old in (DEMOS / "output").glob(f"{name}*.png"):
        old.unlink()
    sys.path.insert(0, str(DEMOS))
    main = types.ModuleType("__main__")
    main.__file__ = str(demo)
    sys.modules["__main__"] = main
    kept, seen = [], set()
    for number, (is_code, source) in enumerate(cells(text)):
        if not is_code:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, f"{demo.name}, cell {number}", "exec"), main.__dict__)
        drawn = sorted(set((DEMOS / "output").glob(f"{name}*.png")) - seen)
        seen.update(drawn)
        kept.append({"printed": printed.getvalue(), "pictures": [path.name for path in drawn]})
    KEPT.mkdir(exist_ok=True)
    for path in seen:
        _small(path, KEPT / path.name)
    from dolfinx_neural_topo.cli.versions import versions

    known = versions()
    used = ", ".join(f"{part} {known[part].split()[0]}" for part in ("dolfinx", "petsc", "torch"))
    record = {"code": fingerprint(text), "versions": used, "cells": kept}
    (KEPT / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def _small(path, to):
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((640, 480), Image.Resampling.LANCZOS)
    picture.quantize(64).save(to, optimize=True)


if __name__ == "__main__":
    names = sys.argv[1:] or list(changed())
    if len(names) == 1:
        run(names[0])
    else:
        for each in names:  # a process each: PETSc and torch start afresh
            print(each, flush=True)
            subprocess.run([sys.executable, __file__, each], check=True)
