"""Problem files: nothing in one may end in a traceback, hang, or be left out in silence."""

from __future__ import annotations

import tempfile
from pathlib import Path

from attacks.case import Topic
from attacks.command_line import call
from attacks.world import comm, folder, on_root

t = Topic("problem files")
GOOD = """\
equation = "elasticity"
[mesh]
box = [8.0, 4.0]
cells = [8, 4]
[[support]]
on = "left"
[[load]]
on = "right"
force = [0.0, -1.0]
[design]
volume = 0.5
radius = 1.5
[method]
evaluations = 2
[output]
picture = false
"""


def run(old: str = "", new: str = "", *more: object) -> int:
    here = folder()
    on_root(lambda: (here / "p.toml").write_text(GOOD.replace(old, new, 1)))
    return call("run", str(here / "p.toml"), "--out", str(here / "out"), *map(str, more))


t.accept("a file", lambda: run())
t.accept("comments and other line ends", lambda: run("\n", " # x = 1\r\n"))
t.accept(
    "a support at a vertex, beside another", lambda: run("[[load]]", "[[support]]\nat = [8, 0]\n[[load]]")
)
for old, new, says in (
    ("volume = 0.5", "", "line 10.*volume is missing"),
    ("volume = 0.5", "volumes = 0.5", "line 11.*volumes"),
    ("volume = 0.5", "volume = inf", "line 11.*volume"),
    ("volume = 0.5", "volume = 1e-320", "start"),
    ("volume = 0.5", "volume = [0.5]", "line 11.*volume"),
    ("radius = 1.5", "radius = 1e-300", "line 12|radius"),
    ("radius = 1.5", "radius = 1.5\nsolid = 'left'", "line 13.*left"),
    ("radius = 1.5", "radius = 1.5\nsymmetry = [{point = [0], normal = [1]}]", "line 13"),
    ("radius = 1.5", "radius = 1.5\nsymmetry = [{point = [4, 0], normal = [1, 0]}]", "line 13.*symmetry"),
    ("cells = [8, 4]", "cells = [0, 4]", "line 4.*cells"),
    ("cells = [8, 4]", "cells = [8, 4, 2]", "line 4.*cells"),
    ("box = [8.0, 4.0]", "box = [8.0, -4.0]", "line 3.*box"),
    ("box = [8.0, 4.0]", "box = 8.0", "line 3.*box"),
    ("box = [8.0, 4.0]\ncells = [8, 4]", 'file = "/etc/passwd"', "line 3"),
    ("box = [8.0, 4.0]\ncells = [8, 4]", 'file = "../../x.msh"', "line 3.*folder"),
    ("box = [8.0, 4.0]\ncells = [8, 4]", 'file = "/dev/zero"', "line 3"),
    ("force = [0.0, -1.0]", "force = [nan, -1.0]", "line 9.*force"),
    ("force = [0.0, -1.0]", "force = 1.0", "line 9.*force"),
    ("force = [0.0, -1.0]", "force = [0.0, 0.0]", "load|force|zero|design"),
    ('on = "right"', 'on = "left"', "support|held|load|fixed|design"),
    ('on = "left"', 'on = "left"\nfix = "x"', "motion|support"),
    ('on = "left"', 'on = ["left"]', "line 6.*on"),
    ("[output]", "[buildable]\nmin_member = 1e9\n[output]", "min_member"),
    ("evaluations = 2", "evaluations = 2.0", "line 14.*evaluations"),
    ("evaluations = 2", 'name = "multistart"', "budget|evaluations|line 14"),
    ("evaluations = 2", 'name = "lbfgs"\n[network]\nkind = "paper"\nimage = [0, 0]', "image|shape"),
    ("equation", "[[equation]]", "equation|TOML"),
    ("[mesh]", "[mesh]\n[mesh]", "TOML"),
    ("[mesh]", "__import__('os')", "TOML"),
):
    t.refuse(f"{old!r} as {new!r}"[:90], says, lambda o=old, n=new: run(o, n))
t.refuse("a folder", "toml", lambda: call("run", str(Path(tempfile.gettempdir()) / ".toml")))
t.refuse("an option of tasks", "--seed", lambda: run("", "", "--seed", 3))
t.refuse("an option of tasks that is 0", "--seed", lambda: run("", "", "--seed", 0))
t.refuse(
    "other files on other ranks", "path|same|rank", lambda: call("run", f"{comm.rank}.toml"), ranks=(2, 3)
)
