"""Extraction: the same bytes whoever does the work and however often it is interrupted."""

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from mer_utils import data, sound, storage
from mer_utils.data import Dataset, Features
from mer_utils.sound import AudioError, Encoder, audio, features, random_mert

if TYPE_CHECKING:
    from mer_utils import sound
    from mer_utils.sound import AudioError, Encoder, audio, features

RATE = 4000
FINAL = ("manifest.json", "values.npy", "tracks.parquet", "index.parquet")


class FakeEncoder:
    """A test double: four statistics of the waveform, times 1, 2 and 3 for its three layers.

    seconds: how long a call takes. gain: multiplies the output. before: called before each call.
    """

    name, sample_rate, layers, dim, minimum_samples = "fake", RATE, (3, 6, 9), 4, RATE // 2

    def __init__(
        self,
        seconds: float = 0.0,
        gain: float = 1.0,
        segment_seconds: float = 1.0,
        before: Callable[[], object] = str,
    ) -> None:
        self.seconds, self.gain, self.segment_seconds = seconds, gain, segment_seconds
        self.before = before

    def settings(self) -> dict:
        keys = ("name", "sample_rate", "segment_seconds", "layers", "dim", "gain")
        return {key: getattr(self, key) for key in keys} | {"pooling": "mean over time"}

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        self.before()
        time.sleep(self.seconds)
        parts = [waveforms.mean(1), waveforms.std(1), waveforms.max(1), waveforms.min(1)]
        statistics = np.stack(parts, axis=1)  # (batch, dim)
        return self.gain * np.stack([k * statistics for k in (1, 2, 3)], axis=1)


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def make_dataset(folder: Path, seconds: list[float], name: str = "noise") -> Dataset:
    """Tracks of noise of these lengths as wav files."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(len(seconds))]
    for path, length in zip(paths, seconds, strict=True):
        soundfile.write(path, generator.uniform(-0.5, 0.5, round(length * RATE)), RATE)
    columns = {"audio": list(map(str, paths)), "labels": [()] * len(paths), "split": None}
    index = pd.Index([f"t{i}" for i in range(len(paths))], name="track")
    return Dataset(name, ("calm",), pd.DataFrame(columns | {"group": "g"}, index=index))


def content(store: Path) -> dict[str, bytes]:
    """All files of a store but its lock, hidden ones as well."""
    files = [p for p in store.rglob("*") if p.is_file() and p.name != storage.LOCK]
    return {str(p.relative_to(store)): p.read_bytes() for p in files}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Eleven tracks, 3 shorter than two segments; in shards of 2 the last shard has one track."""
    return make_dataset(tmp_path / "audio", [3.2, 1.0, 2.5, 4.0, 1.1, 3.0, 6.3, 1.5, 2.0, 5.9, 2.2])


@pytest.fixture
def expected(dataset: Dataset, tmp_path: Path) -> dict[str, bytes]:
    """The files of an extraction that nothing interrupts."""
    sound.extract(dataset, FakeEncoder(), tmp_path / "expected", tracks_per_shard=2)
    return content(tmp_path / "expected")


# -------------------------------------------------------------------------------- what comes out


def test_values_are_those_of_each_segment(dataset: Dataset, tmp_path: Path) -> None:
    found = sound.extract(dataset, FakeEncoder(), tmp_path / "store", batch_size=3)
    row = 0
    for track, path in dataset.tracks["audio"].items():
        waveform = audio.read(path, RATE)
        for number, piece in enumerate(audio.segments(waveform, RATE, 1.0)):
            assert (found.track[row], found.start[row]) == (track, number)
            np.testing.assert_allclose(found.values[row], FakeEncoder()(piece[None])[0], rtol=2e-3)
            row += 1
    assert len(found) == row == 3 + 1 + 2 + 4 + 1 + 3 + 6 + 1 + 2 + 5 + 2
    assert found.values.dtype == np.float16
    assert found.encoder["layers"] == [3, 6, 9]
    assert found.encoder["pooling"] == "mean over time"


def test_a_track_shorter_than_a_segment_is_one_shorter_segment(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "audio", [1.5, 4.0, 1.5])
    encoder = FakeEncoder(segment_seconds=2.0)
    found = sound.extract(dataset, encoder, tmp_path / "store")
    index = pd.read_parquet(tmp_path / "store" / "index.parquet")
    assert index["track"].tolist() == ["t0", "t1", "t1", "t2"]
    assert index["seconds"].tolist() == [1.5, 2.0, 2.0, 1.5]
    short = audio.read(dataset.tracks["audio"].iloc[2], RATE)
    np.testing.assert_allclose(found.values[3], encoder(short[None])[0], rtol=2e-3)


def test_final_store_has_only_final_files(expected: dict[str, bytes], tmp_path: Path) -> None:
    assert sorted(expected) == sorted(FINAL)
    tracks = pd.read_parquet(tmp_path / "expected" / "tracks.parquet")
    assert tracks["segments"].tolist() == [3, 1, 2, 4, 1, 3, 6, 1, 2, 5, 2]
    assert tracks["shard"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert tracks["error"].isna().all()
    assert tracks["seconds"].sum() == pytest.approx(32.7)
    manifest = json.loads(expected["manifest.json"])
    assert manifest["encoder"] == FakeEncoder().settings() | {"layers": [3, 6, 9]}
    assert manifest["tracks"] == [f"t{i}" for i in range(11)]
    assert {"torch", "soundfile", "soxr", "libsndfile"} <= set(manifest["versions"])


def test_load_maps_only_the_layers_asked_for(expected: dict[str, bytes], tmp_path: Path) -> None:
    store = tmp_path / "expected"
    whole = np.load(store / "values.npy")  # (layers, segments, dim)
    for layers, at in [(None, [0, 1, 2]), ([6], [1]), ([3, 9], [0, 2]), ([9, 6, 3], [2, 1, 0])]:
        found = sound.load_features(store, layers)
        assert isinstance(found.values, np.memmap)
        assert not found.values.flags.owndata
        np.testing.assert_array_equal(found.values, whole[at].transpose(1, 0, 2))
        assert found.encoder["layers"] == (layers or [3, 6, 9])
    irregular = sound.load_features(store, [6, 3, 9])  # a copy
    np.testing.assert_array_equal(irregular.values, whole[[1, 0, 2]].transpose(1, 0, 2))
    with pytest.raises(ValueError, match=r"no layer 4 .* they have \[3, 6, 9\]"):
        sound.load_features(store, [3, 4])


def test_load_refuses_what_is_not_complete_or_damaged(
    expected: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no complete features here"):
        sound.load_features(tmp_path / "nowhere")
    np.save(tmp_path / "expected" / "values.npy", np.zeros((3, 2, 4), np.float16))
    with pytest.raises(ValueError, match=r"shape \(3, 2, 4\) instead of \(3, 30, 4\)"):
        sound.load_features(tmp_path / "expected")


@given(lengths=st.lists(st.integers(1, 3), max_size=30), batch_size=st.integers(1, 5))
def test_batches_have_one_length_and_lose_nothing(lengths: list[int], batch_size: int) -> None:
    pieces = [np.full(length, i) for i, length in enumerate(lengths)]
    batches = list(features._batches(pieces, batch_size))
    assert sorted(i for batch in batches for i in batch) == list(range(len(pieces)))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len({len(piece) for piece in batch.values()}) == 1
        assert all((piece == i).all() for i, piece in batch.items())
    full = sum(len(batch) == batch_size for batch in batches)
    assert full == sum(lengths.count(n) // batch_size for n in (1, 2, 3))


# ------------------------------------------------------------------------ interrupted and resumed


def test_a_second_run_does_nothing(dataset: Dataset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = sound.extract(dataset, FakeEncoder(), store)
    again = sound.extract(dataset, FakeEncoder(before=pytest.fail), store)
    np.testing.assert_array_equal(first.values, again.values)


@pytest.mark.parametrize("interrupted", range(10))
def test_stopped_before_any_move_it_goes_on(
    interrupted: int,
    dataset: Dataset,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Manifest, 6 shards, values, two tables: ten moves to a final name. Stop before each."""
    store = tmp_path / "store"
    moves = []
    move = os.replace

    def interrupting(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == interrupted + 1:
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", interrupting)
        with pytest.raises(KeyboardInterrupt):
            sound.extract(dataset, FakeEncoder(), store, tracks_per_shard=2)
    with pytest.raises(ValueError, match="no complete features"):
        sound.load_features(store)
    sound.extract(dataset, FakeEncoder(), store, tracks_per_shard=2)
    assert content(store) == expected


def test_only_missing_shards_are_done(
    dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    def stopping() -> FakeEncoder:
        """Stopped by Ctrl-C at its ninth segment."""
        calls = count(1)
        return FakeEncoder(before=lambda: interrupt() if next(calls) == 9 else None)

    options = {"tracks_per_shard": 2, "batch_size": 1}
    store = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        sound.extract(dataset, stopping(), store, **options)
    assert len(list(store.glob("shards/*"))) == 1  # of 4 segments; the next has 6
    (store / "shards" / "00000.safetensors").write_bytes(b"cut by a full disk")
    with pytest.raises(KeyboardInterrupt):  # the damaged shard is done again
        sound.extract(dataset, stopping(), store, **options)
    calls = count()
    found = sound.extract(dataset, FakeEncoder(before=lambda: next(calls)), store, **options)
    assert next(calls) == len(found) - 4


@pytest.fixture(scope="session")
def forkserver() -> BaseContext:
    """Processes that are forked from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mer_utils.sound", "test_features"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.11 does not pass it on
        patch.setenv("OMP_NUM_THREADS", "1")
        context.Process(target=int).start()
    return context


def _extract(dataset: Dataset, store: Path, begun: Event) -> None:
    begun.set()
    sound.extract(dataset, FakeEncoder(seconds=0.03), store, tracks_per_shard=2)


def test_killed_at_random_moments_it_gives_the_same_bytes(
    forkserver: BaseContext, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store, moment, counts = tmp_path / "store", random.Random(0), []

    def shards() -> int:
        return len(list(store.glob("shards/*.safetensors")))

    for attempt in range(100):
        begun, before = forkserver.Event(), shards()
        child = forkserver.Process(target=_extract, args=(dataset, store, begun))
        child.start()
        assert begun.wait(60)
        while attempt % 2 and child.is_alive() and shards() == before:
            time.sleep(0.001)  # every second time, let it get one shard further
        child.join(moment.uniform(0, 0.1))
        child.kill()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        counts.append(shards())
    assert any(0 < count < 6 for count in counts), "never killed in the middle"
    sound.extract(dataset, FakeEncoder(), store, tracks_per_shard=2)
    assert content(store) == expected


def test_many_that_ask_for_one_store_at_the_same_time_all_get_it(
    forkserver: BaseContext, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """One makes it, the others wait: nobody reads a shard that another has put away."""
    for attempt in range(3):
        store = tmp_path / f"store {attempt}"
        begun = [forkserver.Event() for _ in range(4)]
        children = [forkserver.Process(target=_extract, args=(dataset, store, b)) for b in begun]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0, 0]
        assert content(store) == expected


# --------------------------------------------------------------------------------------- executors


def test_threads_give_the_same_bytes(
    dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(3) as pool:
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", pool, tracks_per_shard=2)
    assert content(tmp_path / "store") == expected


def test_processes_give_the_same_bytes(
    forkserver: BaseContext, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with ProcessPoolExecutor(2, mp_context=forkserver) as pool:
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", pool, tracks_per_shard=2)
    assert content(tmp_path / "store") == expected


def die() -> None:
    """Take the process along."""
    os._exit(1)


def test_a_pool_that_dies_is_a_clear_error_and_can_be_resumed(
    forkserver: BaseContext, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with (
        ProcessPoolExecutor(1, mp_context=forkserver) as pool,
        pytest.raises(RuntimeError, match=r"shard 0000\d .* finished shards are kept"),
    ):
        sound.extract(dataset, FakeEncoder(before=die), store, pool, tracks_per_shard=2)
    sound.extract(dataset, FakeEncoder(), store, tracks_per_shard=2)
    assert content(store) == expected


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    """A dask cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=tmp_path_factory.mktemp("dask"),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
def test_dask_completes_though_a_worker_is_killed(
    cluster, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store, killed = tmp_path / "store", []
    pids = cluster.run(os.getpid)

    def kill_one() -> None:
        while not list(store.glob("shards/*.safetensors")):
            time.sleep(0.005)
        os.kill(pid := next(iter(pids.values())), signal.SIGKILL)
        killed.append((pid, len(list(store.glob("shards/*.safetensors")))))

    killer = threading.Thread(target=kill_one)
    killer.start()
    executor = cluster.get_executor()
    sound.extract(dataset, FakeEncoder(seconds=0.2), store, executor, tracks_per_shard=2)
    killer.join()
    assert killed[0][1] < 6  # in the middle: not all shards were there
    assert killed[0][0] not in cluster.run(os.getpid).values()
    assert content(store) == expected


@pytest.mark.slow
def test_dask_looks_again_at_a_repaired_file(cluster, tmp_path: Path) -> None:
    """Dask takes equal calls for one call; ours must not be equal."""
    dataset = make_dataset(tmp_path / "audio", [2.0, 2.0])
    path = Path(dataset.tracks["audio"].iloc[1])
    good = path.read_bytes()
    path.write_bytes(b"x" * len(good))  # the same size
    executor, kept = cluster.get_executor(), []
    submit = executor.submit
    executor.submit = lambda *call: kept.append(submit(*call)) or kept[-1]
    with pytest.raises(AudioError, match="1 of 2 tracks"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", executor)
    path.write_bytes(good)
    assert len(sound.extract(dataset, FakeEncoder(), tmp_path / "store", executor)) == 4


# ----------------------------------------------------------------------------------- real encoders


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three tracks of noisy tones at 22,050 Hz."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    paths = []
    for number, seconds in enumerate([1.6, 6.5, 4.1]):
        time_axis = np.arange(round(22_050 * seconds)) / 22_050
        wave = 0.3 * np.sin(2 * np.pi * 220 * (number + 1) * time_axis)
        paths.append(folder / f"{number}.flac")
        soundfile.write(paths[-1], wave + 0.05 * generator.normal(size=wave.shape), 22_050)
    columns = {"audio": list(map(str, paths)), "labels": [()] * 3, "split": None, "group": "g"}
    index = pd.Index(list("abc"), name="track")
    return Dataset("tones", ("calm",), pd.DataFrame(columns, index=index))


@pytest.fixture(scope="module", params=["musicnn", "mert-v1-95m"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The trained musicnn, and a small random MERT."""
    from mer_utils import sound

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the forkserver
    checkpoint = None
    if request.param != "musicnn":
        checkpoint = random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("mert"))
    layers = ("all",) if checkpoint is None else (1, 3)
    yield sound.load_encoder(
        request.param, checkpoint, layers=layers, segment_seconds=2.0, device="cpu"
    )
    torch.set_num_threads(threads)


def test_real_encoders_give_the_same_bytes_everywhere(
    encoder: "Encoder", tones: Dataset, forkserver: BaseContext, tmp_path: Path
) -> None:
    found = sound.extract(tones, encoder, tmp_path / "here", tracks_per_shard=1)
    assert found.track.tolist() == ["a", "b", "b", "b", "c", "c"]
    assert found.encoder["name"] == encoder.name
    for row, (track, start) in enumerate(zip(found.track, found.start, strict=True)):
        waveform = audio.read(tones.tracks.loc[track, "audio"], encoder.sample_rate)
        first = round(start * encoder.sample_rate)
        piece = waveform[None, first : first + 2 * encoder.sample_rate]
        np.testing.assert_array_equal(found.values[row], encoder(piece)[0].astype(np.float16))
    for name, pool in [
        ("threads", ThreadPoolExecutor(2)),
        ("processes", ProcessPoolExecutor(1, mp_context=forkserver)),
    ]:
        with pool:
            sound.extract(tones, encoder, tmp_path / name, pool, tracks_per_shard=1)
        assert content(tmp_path / name) == content(tmp_path / "here")


def test_the_batch_size_changes_rounding_at_most(
    encoder: "Encoder", tones: Dataset, tmp_path: Path
) -> None:
    one = sound.extract(tones, encoder, tmp_path / "one", batch_size=1)
    four = sound.extract(tones, encoder, tmp_path / "four", batch_size=4)
    np.testing.assert_allclose(one.values, four.values, rtol=2e-3, atol=1e-4)


# ----------------------------------------------------------------------------- what does not fit


def test_another_setting_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        sound.extract(dataset, FakeEncoder(before=interrupt), store)
    fewer = replace(dataset, tracks=dataset.tracks.iloc[1:])
    for other, encoder, options, message in [
        (dataset, FakeEncoder(gain=2.0), {}, "encoder.gain is 1.0 there and 2.0 now"),
        (dataset, FakeEncoder(segment_seconds=2.0), {}, "encoder.segment_seconds is 1.0 there"),
        (dataset, FakeEncoder(), {"batch_size": 2}, "batch_size is 8 there and 2 now"),
        (dataset, FakeEncoder(), {"tracks_per_shard": 3}, "tracks_per_shard is 8 there and 3 now"),
        (fewer, FakeEncoder(), {}, "11 tracks there and 10 now, first 't0' there and 't1' now"),
        (replace(dataset, name="other"), FakeEncoder(), {}, "dataset is 'noise' there"),
    ]:
        with pytest.raises(ValueError, match="made with other settings") as error:
            sound.extract(other, encoder, store, **options)
        assert message in str(error.value)
        assert str(store) in str(error.value)


def test_other_versions_matter_only_until_the_store_is_complete(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, complete = tmp_path / "begun", tmp_path / "complete"
    with pytest.raises(KeyboardInterrupt):
        sound.extract(dataset, FakeEncoder(before=interrupt), begun)
    sound.extract(dataset, FakeEncoder(), complete)
    monkeypatch.setattr(features, "version", lambda package: "99")
    with pytest.raises(ValueError, match=r"versions\.numpy is .* there and '99' now"):
        sound.extract(dataset, FakeEncoder(), begun)
    sound.extract(dataset, FakeEncoder(), complete, batch_size=2)


def test_a_worker_with_another_encoder_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    class Changing(FakeEncoder):
        """Says something else once the manifest is written."""

        asked = 0

        def settings(self) -> dict:
            self.asked += 1
            return super().settings() | {"weights_sha256": "a" if self.asked < 3 else "b"}

    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match=r"encoder\.weights_sha256 is 'a' there and 'b' now"),
    ):
        sound.extract(dataset, Changing(), tmp_path / "store", pool)


def test_a_folder_of_something_else_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not empty, and no feature store"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "audio")


def test_arguments_are_checked(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_error"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "s", on_error="ignore")
    with pytest.raises(ValueError, match="at least 1"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "s", tracks_per_shard=0)
    with pytest.raises(ValueError, match="at least 1"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "s", batch_size=0)


def test_forked_processes_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool,
        pytest.raises(ValueError, match=r'mp_context=multiprocessing\.get_context\("spawn"\)'),
    ):
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", pool)


def test_values_that_float16_cannot_hold_are_an_error(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fake: layer 3 has values up to .*65504"):
        sound.extract(dataset, FakeEncoder(gain=1e6), tmp_path / "store")


# ------------------------------------------------------------------------------------- bad audio


@pytest.fixture
def broken(dataset: Dataset) -> Dataset:
    """Tracks t2 and t7 are no audio."""
    for track in ("t2", "t7"):
        Path(dataset.tracks.loc[track, "audio"]).write_bytes(b"no audio at all")
    return dataset


@pytest.mark.parametrize("threads", [0, 2])
def test_bad_audio_is_one_error_at_the_end(broken: Dataset, tmp_path: Path, threads: int) -> None:
    store = tmp_path / "store"
    with ThreadPoolExecutor(threads or 1) as pool, pytest.raises(AudioError) as error:
        sound.extract(broken, FakeEncoder(), store, pool if threads else None, tracks_per_shard=2)
    assert "2 of 11 tracks could not be read" in str(error.value)
    for track in ("t2", "t7"):
        assert f"{track}: {broken.tracks.loc[track, 'audio']}" in str(error.value)
    assert "on_error='skip'" in str(error.value)
    assert len(list(store.glob("shards/*.safetensors"))) == 6  # all kept


def test_a_repaired_file_costs_only_its_shard(broken: Dataset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(AudioError):
        sound.extract(broken, FakeEncoder(), store, tracks_per_shard=2)
    before = {path.name: path.stat().st_mtime_ns for path in store.glob("shards/*")}
    for track in ("t2", "t7"):
        soundfile.write(broken.tracks.loc[track, "audio"], np.ones(2 * RATE) / 2, RATE)
    written = []
    write = storage.write_tensors

    def spy(path: Path, *rest: object) -> None:
        written.append(path.name)
        write(path, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "write_tensors", spy)
        found = sound.extract(broken, FakeEncoder(), store, tracks_per_shard=2)
    assert written == ["00001.safetensors", "00003.safetensors"]
    assert set(written) < set(before)
    assert found.track.tolist().count("t2") == 2


def test_skipped_tracks_are_told_and_recorded(broken: Dataset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(AudioError):
        sound.extract(broken, FakeEncoder(), store)
    with pytest.warns(UserWarning, match="2 of 11 tracks could not be read"):
        found = sound.extract(broken, FakeEncoder(), store, on_error="skip")
    assert set(broken.tracks.index) - set(found.track) == {"t2", "t7"}
    tracks = pd.read_parquet(store / "tracks.parquet").set_index("track")
    assert tracks.loc["t2", "segments"] == 0
    assert "not readable as audio" in tracks.loc["t2", "error"]
    assert tracks["error"].notna().sum() == 2
    with pytest.raises(AudioError, match="2 of 11"):  # also when there is nothing left to do
        sound.extract(broken, FakeEncoder(), store)
    with pytest.raises(
        ValueError, match="2 of 11 tracks have no features, first: \\['t2', 't7'\\]"
    ):
        data.pool_tracks(found, broken)


def test_missing_audio_is_told_before_any_work(dataset: Dataset, tmp_path: Path) -> None:
    tracks = dataset.tracks.copy()
    tracks.loc["t1", "audio"] = None
    Path(tracks.loc["t5", "audio"]).unlink()
    partial = replace(dataset, tracks=tracks)
    with pytest.raises(AudioError, match="2 of 11 tracks have no audio file, first: t1"):
        sound.extract(partial, FakeEncoder(before=pytest.fail), tmp_path / "store")
    with pytest.warns(UserWarning, match="2 of 11"):
        found = sound.extract(partial, FakeEncoder(), tmp_path / "store", on_error="skip")
    assert set(tracks.index) - set(found.track) == {"t1", "t5"}


def test_a_track_too_short_for_the_encoder_is_bad_audio(tmp_path: Path) -> None:
    dataset, encoder = make_dataset(tmp_path / "audio", [1.2, 3.0]), FakeEncoder()
    encoder.minimum_samples = 5000
    with pytest.raises(AudioError, match=r"t0: .* 4800 samples at 4000 Hz, but fake needs"):
        sound.extract(dataset, encoder, tmp_path / "store")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "audio", [2.0])
    Path(dataset.tracks["audio"].iloc[0]).write_bytes(b"")
    with pytest.raises(AudioError, match="none of the 1 tracks"):
        sound.extract(dataset, FakeEncoder(), tmp_path / "store", on_error="skip")


def test_changed_audio_is_noticed(dataset: Dataset, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sound.extract(dataset, FakeEncoder(), store)
    Path(dataset.tracks.loc["t0", "audio"]).unlink()  # deleting audio afterwards is fine
    sound.extract(dataset, FakeEncoder(), store)
    soundfile.write(dataset.tracks.loc["t3", "audio"], np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match=r"the audio of 1 tracks is not what .* first: t3"):
        sound.extract(dataset, FakeEncoder(), store)


def test_a_worker_that_sees_other_files_is_an_error(dataset: Dataset) -> None:
    track = features._Track("t0", dataset.tracks.loc["t0", "audio"], 12)
    with pytest.raises(RuntimeError, match="12 where the extraction was started"):
        features._decode(track, FakeEncoder())


# ------------------------------------------------------------------------ running ahead, and memory


def test_decoding_runs_ahead_and_no_further(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ahead = [], threading.Event()
    read = audio.read

    def counting(path: str, rate: int) -> np.ndarray:
        begun.append(path)
        if len(begun) == 3:
            ahead.set()
        return read(path, rate)

    class Waiting(FakeEncoder):
        """Goes on only once the third track is being decoded; there are 3 segments in the first."""

        segments, most = 0, 0

        def __call__(self, waveforms: np.ndarray) -> np.ndarray:
            assert ahead.wait(30), "nobody decodes while the encoder works"
            self.segments += len(waveforms)
            ends = np.cumsum([3, 1, 2, 4, 1, 3, 6, 1, 2, 5, 2])
            self.most = max(self.most, len(begun) - np.searchsorted(ends, self.segments))
            return super().__call__(waveforms)

    monkeypatch.setattr(audio, "read", counting)
    encoder = Waiting()
    sound.extract(dataset, encoder, tmp_path / "store", batch_size=1, decode_threads=1)
    assert len(begun) == len(dataset)
    assert encoder.most <= 4  # the one in work, one being decoded, two waiting


def test_memory_does_not_grow_with_the_number_of_tracks(tmp_path: Path) -> None:
    def peak(tracks: int) -> int:
        dataset = make_dataset(tmp_path / f"audio{tracks}", [100.0] * tracks)  # 1.6 MB each
        tracemalloc.start()
        sound.extract(dataset, FakeEncoder(), tmp_path / f"store{tracks}", tracks_per_shard=2)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports and caches
    assert peak(60) < 60 * 1.6e6 / 3


# ---------------------------------------------------------------------------------------- helpers


def tiny(tracks: list[str], values: np.ndarray) -> Features:
    encoder = {"name": "fake", "layers": [3, 6, 9][: values.shape[1]]}
    return Features(values, np.array(tracks), np.zeros(len(tracks)), encoder)


def named(tracks: list[str]) -> Dataset:
    columns = {"audio": None, "labels": [()] * len(tracks), "split": None, "group": "g"}
    table = pd.DataFrame(columns, index=pd.Index(tracks, name="track"))
    return Dataset("named", ("calm",), table)


def test_pool_tracks_by_hand() -> None:
    values = np.arange(16, dtype=np.float16).reshape(4, 2, 2)
    found = data.pool_tracks(tiny(["b", "b", "b", "a"], values), named(["a", "b"]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[12, 13], [14, 15]], [[4, 5], [6, 7]]])


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_pool_tracks_is_the_mean_in_the_datasets_order(counts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    names = [f"t{i}" for i in range(len(counts))]
    tracks = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    values = generator.normal(size=(len(tracks), 2, 3)).astype(np.float32)
    order = generator.permutation(names).tolist()
    found = data.pool_tracks(tiny(tracks, values), named(order))
    for row, name in enumerate(order):
        np.testing.assert_allclose(found[row], values[np.array(tracks) == name].mean(0), atol=1e-6)


def test_pool_tracks_refuses_what_does_not_fit() -> None:
    values = np.zeros((3, 1, 2))
    with pytest.raises(ValueError, match="1 of 3 tracks have no features, first: \\['c'\\]"):
        data.pool_tracks(tiny(["a", "a", "b"], values), named(["a", "b", "c"]))
    with pytest.raises(ValueError, match="do not stand together"):
        data.pool_tracks(tiny(["a", "b", "a"], values), named(["a", "b"]))
    with pytest.raises(ValueError, match="the dataset does not have"):
        data.pool_tracks(tiny(["a", "b", "x"], values), named(["a", "b"]))


def test_select_columns() -> None:
    values = np.arange(24).reshape(2, 3, 4)
    found = data.select(tiny(["a", "b"], values), columns=slice(1, 3))
    np.testing.assert_array_equal(found.values, values[:, :, 1:3])
    assert found.encoder["columns"] == [1, 2]
    again = data.select(found, columns=[1])
    assert again.encoder["columns"] == [2]
    np.testing.assert_array_equal(again.values, values[:, :, 2:3])
