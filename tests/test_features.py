"""Extraction: the same bytes whoever does the work and however often it is interrupted."""

import mmap
import multiprocessing
import os
import pickle
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from sounds import dataset_of

from mer_utils import data, sound, storage
from mer_utils.data import Dataset, Features
from mer_utils.sound import AudioError, audio

RATE = 4000
SECONDS = [3.2, 1.0, 2.5, 4.0, 1.1, 3.0, 6.3, 1.5, 2.0, 5.9, 2.2]  # of the noise tracks
SEGMENTS = [3, 1, 2, 4, 1, 3, 6, 1, 2, 5, 2]  # of a second
FORK = multiprocessing.get_context("fork")  # spawned ones take seconds to import
FINAL = ["index.parquet", "manifest.json", "tracks.parquet", "values.npy"]


class FakeEncoder:
    """A test double: four statistics of the waveform, times 1, 2 and 3 for its three layers.

    seconds: how long a call takes. gain: multiplies the output. before: called before each call.
    """

    name, sample_rate, layers, dim, minimum_samples = "fake", RATE, (3, 6, 9), 4, RATE // 2

    def __init__(self, seconds=0.0, gain=1.0, segment_seconds=1.0, before=str) -> None:
        self.seconds, self.gain, self.segment_seconds = seconds, gain, segment_seconds
        self.before, self.batches = before, []

    def settings(self) -> dict:
        keys = ("name", "sample_rate", "segment_seconds", "layers", "dim", "gain")
        return {key: getattr(self, key) for key in keys} | {"pooling": "mean over time"}

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        self.before()
        self.batches.append(len(waveforms))
        time.sleep(self.seconds)
        parts = [waveforms.mean(1), waveforms.std(1), waveforms.max(1), waveforms.min(1)]
        statistics = np.stack(parts, axis=1)  # (batch, dim)
        return self.gain * np.stack([k * statistics for k in (1, 2, 3)], axis=1)


def make_dataset(folder: Path, seconds: list[float], rate: int = RATE) -> Dataset:
    """Tracks of noise of these lengths as wav files."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(len(seconds))]
    for path, length in zip(paths, seconds, strict=True):
        soundfile.write(path, generator.uniform(-0.5, 0.5, round(length * rate)), rate)
    return dataset_of(paths, [f"t{i}" for i in range(len(paths))])


def content(store: Path) -> dict[str, bytes]:
    """All files of a store but its lock, hidden ones as well."""
    files = [p for p in store.rglob("*") if p.is_file() and p.name != storage.LOCK]
    return {str(p.relative_to(store)): p.read_bytes() for p in files}


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Eleven tracks; in shards of 2 the last shard has one track."""
    return make_dataset(tmp_path / "audio", SECONDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A store of the same tracks, in shards of 2, that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = make_dataset(folder / "audio", SECONDS)
    sound.extract(dataset, FakeEncoder(), folder / "store", tracks_per_shard=2)
    return folder / "store"


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


@pytest.mark.parametrize("layers", [None, [3, 9], [9, 6], [9, 3, 6]])
def test_layers_are_mapped_in_the_order_asked_for_unless_irregular(whole, layers):
    values = np.load(whole / "values.npy")  # (layers, segments, dim)
    found = sound.load_features(whole, layers)
    assert found.encoder["layers"] == (layers or [3, 6, 9])
    places = [layer // 3 - 1 for layer in found.encoder["layers"]]
    np.testing.assert_array_equal(found.values, values[places].transpose(1, 0, 2))
    assert is_mapped(found.values) == (layers != [9, 3, 6])


def test_a_store_holds_its_tracks_and_refuses_what_is_not_its_own(whole, tmp_path):
    assert sorted(content(whole)) == FINAL
    tracks = pd.read_parquet(whole / "tracks.parquet")
    assert tracks["segments"].tolist() == SEGMENTS
    assert tracks["seconds"].tolist() == SECONDS
    assert tracks["error"].isna().all()
    with pytest.raises(ValueError, match="4"):
        sound.load_features(whole, [3, 4])
    store = shutil.copytree(whole, tmp_path / "store")
    values = np.load(whole / "values.npy")
    np.save(store / "values.npy", np.concatenate([values, values[:1]]))  # a layer more
    with pytest.raises(ValueError, match=r"values\.npy"):
        sound.load_features(store)


@pytest.mark.parametrize(("batch_size", "length"), [(3, 2.0), (8, 1.0)])
def test_values_are_those_of_each_segment(dataset, tmp_path, batch_size, length):
    """Of 2 s, some tracks are shorter than a segment; batches go across tracks, never lengths."""
    encoder = FakeEncoder(segment_seconds=length)
    found = sound.extract(dataset, encoder, tmp_path / "store", batch_size=batch_size)
    index = pd.read_parquet(tmp_path / "store" / "index.parquet")
    rows = iter(range(len(found)))
    for track, path in dataset.tracks["audio"].items():
        for number, piece in enumerate(audio.segments(audio.read(path, RATE), RATE, length)):
            row, seconds = next(rows), len(piece) / RATE
            assert (found.track[row], found.start[row]) == (track, number * seconds)
            assert tuple(index.loc[row, ["track", "seconds"]]) == (track, seconds)
            expected = FakeEncoder()(piece[None])[0].astype(np.float16)
            np.testing.assert_array_equal(found.values[row], expected)
    assert next(rows, None) is None
    assert max(encoder.batches) == batch_size
    assert found.values.dtype == np.float16
    assert found.encoder == encoder.settings() | {"layers": [3, 6, 9]}


def test_values_that_float16_cannot_hold_are_an_error(dataset, tmp_path):
    with pytest.raises(ValueError, match="layer 3"):
        sound.extract(dataset, FakeEncoder(gain=1e6), tmp_path / "store")

    def overflow() -> None:
        raise FloatingPointError

    with pytest.raises(ValueError, match="t0"):
        sound.extract(dataset, FakeEncoder(before=overflow), tmp_path / "other")


def start(dataset: Dataset, store: Path, dies_before_move: int | None = None):
    """Extract in a child that is killed before this move of a file to its final name."""

    def extract() -> None:
        moves, move = count(), os.replace
        storage.os.replace = lambda *paths: (
            os._exit(1) if next(moves) == dies_before_move else move(*paths)
        )
        sound.extract(dataset, FakeEncoder(seconds=0.01), store, tracks_per_shard=2)

    child = FORK.Process(target=extract)
    child.start()
    return child


@pytest.mark.parametrize("move", [0, 3, 7, 9])
def test_killed_before_any_move_it_goes_on(move, dataset, whole, tmp_path):
    """Manifest, 6 shards, values, two tables. What was done, if unchanged, is not done again."""
    store, calls = tmp_path / "store", count()  # a call a shard
    child = start(dataset, store, dies_before_move=move)
    child.join()
    assert child.exitcode == 1
    with pytest.raises(ValueError, match="no complete features"):
        sound.load_features(store)
    done = min(max(move - 1, 0), 6)
    changed = {  # shards that are there, but not as they were written
        3: [lambda content: b"cut by a full disk"],
        7: [
            lambda x: x[:-1] + bytes([x[-1] ^ 1]),
            lambda x: re.sub(rb'(segments\\": )\d', rb"\g<1>9", x, count=1),
        ],
    }.get(move, [])
    for number, change in enumerate(changed):
        shard = store / "shards" / f"{number:05d}.safetensors"
        kept = shard.read_bytes()
        shard.write_bytes(change(kept))
        assert shard.read_bytes() != kept
    done -= len(changed)
    encoder = FakeEncoder(before=lambda: next(calls))
    sound.extract(dataset, encoder, store, tracks_per_shard=2)
    assert next(calls) == 6 - done
    assert content(store) == content(whole)


def test_many_that_ask_for_one_store_at_the_same_time_all_get_it(dataset, whole, tmp_path):
    """One makes it, the others wait: nobody reads a shard that another has put away."""
    children = [start(dataset, tmp_path / "store") for _ in range(3)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert content(tmp_path / "store") == content(whole)


class Sending(ThreadPoolExecutor):
    """Threads that are sent their work as another process would be."""

    def submit(self, *work):
        return super().submit(*pickle.loads(pickle.dumps(work)))


def test_an_executor_gives_the_same_bytes(dataset, whole, tmp_path):
    with Sending(3) as pool:
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", pool, tracks_per_shard=2)
    assert content(tmp_path / "store") == content(whole)


def test_a_real_encoder_gives_the_same_bytes_in_other_processes(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the others
    encoder = sound.load_encoder("musicnn", segment_seconds=1.5, device="cpu")
    tracks = make_dataset(tmp_path / "audio", [1.2, 3.1], 22_050)
    sound.extract(tracks, encoder, tmp_path / "here", tracks_per_shard=1)
    sound.extract(tracks, encoder, tmp_path / "there", tracks_per_shard=1, jobs=2)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    torch.set_num_threads(threads)


def test_segments_before_damage_count_for_nothing(tmp_path, monkeypatch):
    """A track comes in stretches of a second, and the damage late."""
    tracks = make_dataset(tmp_path / "audio", [3.0, 9.0, 3.0])
    first, cut, last = map(Path, tracks.tracks["audio"])
    cut.write_bytes(cut.read_bytes()[:50_000])
    monkeypatch.setattr(audio, "_BLOCK", 1_500)
    monkeypatch.setattr(audio, "_STRETCH", 1)
    with pytest.warns(UserWarning, match="1 of 3"):
        found = sound.extract(tracks, FakeEncoder(), tmp_path / "store", on_error="skip")
    assert found.track.tolist() == ["t0"] * 3 + ["t2"] * 3
    segments = np.concatenate([audio.read(path, RATE).reshape(3, RATE) for path in (first, last)])
    np.testing.assert_array_equal(found.values, FakeEncoder()(segments).astype(np.float16))


def test_another_setting_is_refused(dataset, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(pytest.fail.Exception):  # no Exception, like Ctrl-C
        sound.extract(dataset, FakeEncoder(before=pytest.fail), store)
    fewer = replace(dataset, tracks=dataset.tracks.iloc[1:])
    for other, encoder, options, message in [
        (dataset, FakeEncoder(gain=2.0), {}, "encoder.gain"),
        (dataset, FakeEncoder(), {"batch_size": 2}, "batch_size"),
        (fewer, FakeEncoder(), {}, "'t0'.*'t1'"),
        (replace(dataset, name="other"), FakeEncoder(), {}, "'noise'"),
    ]:
        with pytest.raises(ValueError, match=message):
            sound.extract(other, encoder, store, **options)


def test_a_worker_with_another_encoder_or_other_files_is_an_error(dataset, tmp_path):
    class Changing(FakeEncoder):
        asked = count()

        def settings(self) -> dict:
            return super().settings() | {"weights_sha256": "b" if next(self.asked) else "a"}

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="weights"):
        sound.extract(dataset, Changing(), tmp_path / "store", pool)

    def replace_the_last() -> None:
        soundfile.write(dataset.tracks.loc["t10", "audio"], np.zeros(RATE), RATE)

    with pytest.raises(RuntimeError, match=r"10\.wav"):
        sound.extract(dataset, FakeEncoder(before=replace_the_last), tmp_path / "other")


def test_what_cannot_be_done_is_refused(dataset, tmp_path):
    store = tmp_path / "store"
    for wrong in ({"on_error": "ignore"}, {"tracks_per_shard": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            sound.extract(dataset, FakeEncoder(), store, **wrong)
    with pytest.raises(ValueError, match="no feature store"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "audio")
    with ProcessPoolExecutor(1, mp_context=FORK) as pool, pytest.raises(ValueError, match="spawn"):
        sound.extract(dataset, FakeEncoder(), store, pool)


@pytest.fixture
def broken(dataset) -> Dataset:
    """Tracks t2 and t7 are no audio."""
    for path in dataset.tracks.loc[["t2", "t7"], "audio"]:
        Path(path).write_bytes(bytes(os.path.getsize(path)))
    return dataset


def test_bad_audio_is_one_error_and_changed_files_cost_only_their_shards(broken, tmp_path):
    """Of t2 the size stays, t10 was no bad file."""
    store, calls = tmp_path / "store", count()
    with pytest.raises(AudioError, match="2 of 11 tracks") as error:
        sound.extract(broken, FakeEncoder(), store, tracks_per_shard=2)
    for track, path in broken.tracks.loc[["t2", "t7"], "audio"].items():
        assert f"{track}: {path}" in str(error.value)
    for track, seconds in (("t2", 2.5), ("t7", 2), ("t10", 1)):
        tone = np.ones(round(seconds * RATE)) / 2
        soundfile.write(broken.tracks.loc[track, "audio"], tone, RATE)
    encoder = FakeEncoder(before=lambda: next(calls))
    found = sound.extract(broken, encoder, store, tracks_per_shard=2)
    assert next(calls) == 3
    assert np.isin(found.track, ["t2", "t7", "t10"]).sum() == 2 + 2 + 1


def test_missing_audio_is_told_before_any_work_and_skipped_tracks_are_recorded(broken, tmp_path):
    broken.tracks.loc["t1", "audio"] = None
    Path(broken.tracks.loc["t5", "audio"]).unlink()
    store, skipped = tmp_path / "store", ["t1", "t2", "t5", "t7"]
    with pytest.raises(AudioError, match=r"(?s)2 of 11 tracks.*t1.*t5"):
        sound.extract(broken, FakeEncoder(before=pytest.fail), store)
    with pytest.warns(UserWarning, match="4 of 11 tracks"):
        found = sound.extract(broken, FakeEncoder(), store, on_error="skip")
    assert sorted(set(broken.tracks.index) - set(found.track)) == skipped
    tracks = pd.read_parquet(store / "tracks.parquet").set_index("track")
    assert tracks.loc["t2", "segments"] == 0
    assert tracks["error"].dropna().index.tolist() == skipped
    with pytest.raises(AudioError, match="4 of 11"):  # also when there is nothing left to do
        sound.extract(broken, FakeEncoder(), store)
    with pytest.raises(ValueError, match="4 of 11 tracks"):
        data.pool_tracks(found, broken)


def test_a_second_run_does_nothing_unless_audio_changed(dataset, tmp_path):
    store = tmp_path / "store"
    first = sound.extract(dataset, FakeEncoder(), store)
    Path(dataset.tracks.loc["t0", "audio"]).unlink()  # deleting audio afterwards is fine
    again = sound.extract(dataset, FakeEncoder(before=pytest.fail), store, batch_size=3)
    np.testing.assert_array_equal(first.values, again.values)
    soundfile.write(dataset.tracks.loc["t3", "audio"], np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="first t3"):
        sound.extract(dataset, FakeEncoder(), store)


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_pool_tracks_is_the_mean_in_the_datasets_order(counts, seed):
    generator = np.random.default_rng(seed)
    names = [f"t{i}" for i in range(len(counts))]
    tracks = np.repeat(names, counts)
    values = generator.normal(size=(len(tracks), 2, 3)).astype(np.float32)
    features = Features(values, tracks, np.zeros(len(tracks)), {"layers": [3]})
    order = generator.permutation(names).tolist()
    found = data.pool_tracks(features, dataset_of([None] * len(order), order))
    for row, name in enumerate(order):
        np.testing.assert_allclose(found[row], values[tracks == name].mean(0), atol=1e-6)
