"""Files: what a killed process leaves, two writers at once, what an error of the system says."""

import errno
import hashlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mer_utils import storage
from mer_utils.batch import runs

FORK = multiprocessing.get_context("fork")  # spawned ones take seconds to import


def write_slowly(path: Path) -> None:
    with storage.replacing(path) as temporary:
        temporary.write_text("half")
        path.with_suffix(".begun").touch()
        time.sleep(60)


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path):
    writers = [FORK.Process(target=write_slowly, args=(tmp_path / x,)) for x in ("dead", "living")]
    for writer in writers:
        writer.start()
    while len(list(tmp_path.glob("*.begun"))) < 2:
        time.sleep(0.01)
    writers[0].kill()
    writers[0].join()
    (tmp_path / ".mine.tmp").write_text("the user's")
    storage.write_tensors(tmp_path / "other", {"a": torch.ones(2)})
    left = sorted(path.name.split(".")[1] for path in tmp_path.glob(".*.tmp"))
    assert left == ["living", "mine"]
    writers[1].kill()


def note_facts(folder: Path, name: str) -> None:
    run = runs.open_run("smoke", folder)
    for number in range(20):
        runs.note(run, **{f"{name}{number}": number})


def test_two_processes_lose_no_fact_of_a_run(tmp_path):
    both = [FORK.Process(target=note_facts, args=(tmp_path, name)) for name in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert sum(name[1:].isdigit() for name in storage.read_json(tmp_path / "run.json")) == 40


def hold(folder: Path) -> None:
    with storage.locked(folder):
        (folder / "held").touch()
        time.sleep(0.2)


@pytest.mark.parametrize("batch", [True, False])
def test_who_waits_for_another_process_says_so_but_in_batch(tmp_path, monkeypatch, capsys, batch):
    if batch:
        monkeypatch.setenv(storage.BATCH, "1")
    FORK.Process(target=hold, args=(tmp_path,)).start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with storage.locked(tmp_path):
        assert ("another process" in capsys.readouterr().err) is not batch


def test_a_folder_that_cannot_be_written_to_needs_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with storage.locked(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "mend"),
    [
        ("file/x", "something else"),
        ("folder", "name a file"),
        ("loop/x", "something else"),
        ("n" * 300, "shorter"),
        ("full", "free some space"),
    ],
)
def test_an_error_of_the_system_names_path_and_mend(tmp_path, place, mend):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")

    def write() -> None:
        with storage.replacing(tmp_path / place):
            if place == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=str(tmp_path)) as error:
        write()
    assert mend in storage.told(error.value)
    assert not list(tmp_path.glob(".*.tmp"))


def write_on_a_small_disk(write: Callable, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    with pytest.raises(OSError, match="kept"):
        write(folder / "kept")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: storage.write_array(path, np.ones(200)),
        lambda path: storage.write_tensors(path, {"a": torch.ones(200)}),
        lambda path: storage.write_table(f"{path}.parquet", pd.DataFrame({"a": range(200)})),
        lambda path: storage.write_table(f"{path}.csv", pd.DataFrame({"a": range(200)})),
        lambda path: storage.write_json(path, list(range(200))),
    ],
)
def test_a_file_that_may_not_grow_is_an_error_and_not_half_a_file(tmp_path, write):
    writer = FORK.Process(target=write_on_a_small_disk, args=(write, tmp_path))
    writer.start()
    writer.join(30)
    assert (writer.exitcode, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), ()])
def test_an_array_comes_back_or_any_changed_byte_of_it_is_named(tmp_path, shape):
    path, array = tmp_path / "kept.npy", np.ones(shape, dtype=np.float32)
    storage.write_array(path, array)
    np.testing.assert_array_equal(storage.read_array(path, shape), array)
    np.testing.assert_array_equal(np.load(path), array)  # for other programs it is a plain npy
    whole = path.read_bytes()
    for place in {0, len(whole) // 3, len(whole) - 33, len(whole) - 1}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"kept\.npy"):
            storage.read_array(path, shape)


@pytest.mark.parametrize("kind", ["safetensors", "parquet"])
def test_changed_values_of_tensors_and_tables_are_named(tmp_path, kind):
    path, values = tmp_path / f"kept.{kind}", np.random.default_rng(0).random(100)
    if kind == "safetensors":
        storage.write_tensors(path, {"a": torch.from_numpy(values)})
        read = storage.read_tensors
    else:
        storage.write_table(path, pd.DataFrame({"a": values}))
        read = storage.read_table
    np.testing.assert_array_equal(read(path)["a"], values)
    whole = path.read_bytes()
    place = whole.index(values[50].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match="kept"):
        read(path)


def test_an_array_of_another_form_is_named_though_its_checksum_is_right(tmp_path):
    path, good = tmp_path / "kept.npy", np.ones((2, 3), dtype=np.float32)
    contents = []
    for array in (good, good[:, :2], good * np.nan, good.astype(int), np.array([[{}]])):
        np.save(path, array)
        contents.append(path.read_bytes())
    whole, *others = contents
    others += [b"", whole[:-1], whole.replace(b"(2, 3)", b"(9**9,)"), b"PK" + whole]
    for content in others:
        path.write_bytes(content + hashlib.sha256(content).digest())
        with pytest.raises(ValueError, match=r"kept\.npy"):
            storage.read_array(path, (2, 3))
    path.write_bytes(whole + hashlib.sha256(whole).digest())
    np.testing.assert_array_equal(storage.read_array(path, (2, 3)), good)
