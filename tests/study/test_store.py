"""The store: append-only, one writer, what a kill leaves, other versions; each rank has its own folder."""

import json
import subprocess
import sys

import pytest

from dolfinx_neural_topo.errors import InputError
from dolfinx_neural_topo.study.store import SCHEMA, Key, Store

KEY = Key("mbb_beam_96x32_0.5", "oc", 0, "uniform", 10)


def record(key=KEY, **more):
    return {**key._asdict(), "status": "ok", **more}


def test_records_come_back_and_the_last_of_a_key_counts(tmp_path):
    store = Store(tmp_path / "deep" / "store")
    assert store.records() == []
    with store.writing():
        store.append(record(status="failed", error="disk full"))
        store.append(record(KEY._replace(seed=1), compliance=2.0))
        store.append(record(compliance=1.0))
    again = Store(store.folder).records()
    assert [Key.of(entry) for entry in again] == [KEY, KEY._replace(seed=1)]
    assert again[0]["status"] == "ok" and again[0]["compliance"] == 1.0
    assert len(store.path.read_text().splitlines()) == 3


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    store = Store(tmp_path)
    with store.writing():
        store.append(record(compliance=1.0))
    with store.path.open("a") as file:
        file.write('{"schema": 1, "task": "mbb_be')
    assert len(store.records()) == 1
    with store.writing():
        store.append(record(KEY._replace(seed=1)))
    assert len(store.records()) == 2


def test_numbers_that_json_cannot_hold_are_refused(tmp_path):
    store = Store(tmp_path)
    with store.writing(), pytest.raises(ValueError):
        store.append(record(compliance=float("nan")))
    assert store.records() == []


def test_another_version_is_refused(tmp_path):
    store = Store(tmp_path)
    store.path.write_text(json.dumps({"schema": SCHEMA + 1, **record()}) + "\n")
    with pytest.raises(InputError, match=rf"line 1: written with schema {SCHEMA + 1}"):
        store.records()
    with pytest.raises(InputError, match="choose another folder"), store.writing():
        raise AssertionError("not reached")


def test_a_line_that_is_no_record_is_named(tmp_path):
    store = Store(tmp_path)
    store.path.write_text("{}\n")
    with pytest.raises(InputError, match="line 1: not a record"):
        store.records()


def test_a_second_writer_is_refused(tmp_path):
    store = Store(tmp_path)
    with (
        store.writing(),
        pytest.raises(InputError, match=r"another study is writing to .*process"),
        Store(tmp_path).writing(),
    ):
        raise AssertionError("not reached")
    with Store(tmp_path).writing():
        pass


def test_the_lock_of_a_killed_writer_is_free(tmp_path, serial):
    code = (
        "import os, sys; from dolfinx_neural_topo.study.store import Store\n"
        "with Store(sys.argv[1]).writing(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with Store(tmp_path).writing():
        pass
