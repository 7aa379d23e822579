import functools

import physics_problems as problems
import pytest


@pytest.fixture
def one_mesh(monkeypatch):
    """Each mesh is built once in a test: on several ranks two equal ones may be distributed differently."""
    made = functools.cache(problems.box)
    monkeypatch.setattr(problems, "box", lambda cell="quadrilateral", shape=None, *_: made(cell, shape))
