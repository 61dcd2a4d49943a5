"""Audio features: the encoder's layers averaged over the time of each segment.

For turning a dataset's audio into one vector a segment and layer, once, and for reading these
vectors back. `extract` follows three rules:

- The unit of work is the shard: a fixed number of neighbouring tracks. Which tracks make a shard
  and which segments make a batch follows from the dataset's order and the settings alone, so it
  does not matter who does a shard, when, or after how many interruptions.
- A file is there whole or not at all. A shard that is there is not done again.
- A store holds the features of one dataset, made with one set of settings, which its manifest
  records before the first shard. Anything else is refused.

A store is a folder:

    manifest.json                   every setting that decides the values
    shards/00000.safetensors ...    while the extraction runs; removed once it is complete
    values.npy                      (layers, segments, dim) float16: one contiguous array a layer
    tracks.parquet                  a row a track: audio_bytes, segments, seconds, shard, error
    index.parquet                   a row a segment: track, start, seconds, shard; written last

Conventions: starts and durations in seconds; segments stand in the dataset's order of tracks,
those of a track together and in time; `sound.audio.segments` cuts them and never pads.
docs/extraction.md tells how to run this on several cores, a cluster or several GPUs.
"""

import inspect
import json
import os
import shutil
import socket
import uuid
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import soundfile
import torch
from safetensors import SafetensorError, safe_open

from mer_utils import __version__, code, storage
from mer_utils.data.types import Dataset, Features, Layer, layer_positions
from mer_utils.progress import progress_bar
from mer_utils.sound import audio
from mer_utils.sound.audio import AudioError
from mer_utils.sound.encoders import Encoder, load_cached

if TYPE_CHECKING:  # importing the encoders takes seconds, and most users of features need none
    from mer_utils.sound import audio
    from mer_utils.sound.audio import AudioError
    from mer_utils.sound.encoders import Encoder

# The code that features pass through, beside the encoder's own (mer_utils.code): decoding, cutting,
# gathering and rounding, not how work is resumed and handed out.
PASSES = ("sound.features._encode", "sound.audio.read")
# of what loads an encoder: finding its files, which are known by hash
LEFT_OUT = ("sound.mert.find_checkpoint", "sound.musicnn.find_weights")

# Settings that decide no more than how the last bit is rounded.
_ROUNDING = (
    "batch_size",
    "encoder.device",
    "encoder.torch",
    "encoder.transformers",
    "tracks_per_shard",
    "versions",
)


# ------------------------------------------------------------------------------------- Reading


def load_features(store: str | Path, layers: Sequence[Layer] | None = None) -> Features:
    """Open a store that `extract` has completed, without reading the values into memory.

    store: the folder.
    layers: as the encoder numbers or names them, in the order wanted; None for all.
    Returns features whose values (segments, layers, dim) float16 are mapped from the file: what is
    not used is not read. Only layers at irregular distances, such as (0, 1, 5), are copied.
    Raises ValueError if the store is not complete or lacks a layer.
    """
    store = Path(store)
    if not _is_complete(store):
        there = len(list(store.glob("shards/*.safetensors")))
        raise ValueError(
            f"{store}: no complete features here ({there} shards and no index.parquet); run "
            "extract on it to make or finish them"
        )
    manifest = storage.read_json(store / "manifest.json")
    index = pd.read_parquet(store / "index.parquet")
    values = storage.read_array(store / "values.npy", memory_map=True)  # (layers, segments, dim)
    encoder = manifest["encoder"]
    expected = (len(encoder["layers"]), len(index), encoder["dim"])
    if values.shape != expected:
        raise ValueError(
            f"{store}: values.npy has the shape {values.shape} instead of {expected}; the store is "
            "damaged, delete it and run extract again"
        )
    if layers is not None:
        at = layer_positions(layers, encoder["layers"], f"{store} ({encoder['name']})")
        values = values[_as_slice(at)]  # (chosen layers, segments, dim)
        encoder = encoder | {"layers": list(layers)}
    return Features(
        values.transpose(1, 0, 2),  # (segments, layers, dim)
        index["track"].to_numpy(dtype=str),
        index["start"].to_numpy(),
        encoder,
    )


def _as_slice(positions: Sequence[int]) -> slice | Sequence[int]:
    """The same positions as a slice, which maps instead of copying, if they are evenly spaced."""
    steps = set(np.diff(positions).tolist()) or {1}
    step = steps.pop()
    if steps or step == 0 or not positions:
        return positions
    stop = positions[-1] + step
    return slice(positions[0], stop if stop >= 0 else None, step)


# ---------------------------------------------------------------------------------- Extracting


def code_hash(encoder: "Encoder", passes: Sequence[str] = PASSES) -> str:
    """Hash of the code that an encoder's features pass through.

    passes: places (`code.reached`) of the code beside the encoder's own.
    """
    network = getattr(encoder, "network", encoder)
    load_features = getattr(inspect.getmodule(type(network)), "load", None)
    own = [type(encoder), type(network), *([load_features] if load_features else [])]
    return code.hash_of([*passes, *own], LEFT_OUT)


def extract(
    dataset: Dataset,
    encoder: "Encoder",
    store: str | Path,
    executor: Executor | None = None,
    *,
    on_error: str = "raise",
    tracks_per_shard: int = 8,
    batch_size: int = 8,
    decode_threads: int = 2,
) -> Features:
    """Encode every segment of every track, going on where an earlier run stopped.

    dataset: its tracks' `audio` are files that every worker can read.
    encoder: one that `sound.load_encoder` gave; workers in other processes load it again.
    store: folder of the result, new or begun with the same dataset and settings. A second process
        that is asked for the same store waits until the first has made it.
    executor: any `concurrent.futures` executor, such as a ThreadPoolExecutor, a
        ProcessPoolExecutor or dask.distributed's `Client.get_executor()`; it takes a shard at a
        time. None works in this process.
    on_error: what to do if audio cannot be read: "raise" one AudioError at the end that lists all
        such files (the shards stay, so a repaired file costs only its own shard), or "skip" these
        tracks, with a warning and their reason in tracks.parquet.
    tracks_per_shard: what a crash can cost, against the number of files.
    batch_size: segments of equal length to encode at once; memory grows with it.
    decode_threads: threads that decode the next tracks while the encoder works, in each worker;
        about twice as many decoded tracks wait in memory.
    Returns the features, mapped from the store.
    Raises AudioError, or ValueError if the store was made with other settings.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error is "raise" or "skip", not {on_error!r}')
    if min(tracks_per_shard, batch_size, decode_threads, len(dataset)) < 1:
        raise ValueError(
            f"{dataset.name}: {len(dataset)} tracks, tracks_per_shard={tracks_per_shard}, "
            f"batch_size={batch_size}, decode_threads={decode_threads}; each has to be at least 1"
        )
    _refuse_fork(executor)
    store = Path(store)
    manifest = _manifest(dataset, encoder, tracks_per_shard, batch_size)
    shards = _plan(dataset, store, tracks_per_shard)
    if not _is_complete(store) or (store / "shards").exists():
        _refuse_strange(store)  # before a lock is left in somebody's folder
        with storage.locked(store):
            if not _is_complete(store):
                _claim(store, manifest)
                if on_error == "raise":
                    _require_audio(dataset.name, shards)
                settings = {key: manifest[key] for key in _computing(encoder)}
                job = _Job(_Carrier(encoder), settings, batch_size, decode_threads)
                records = _run(shards, job, executor, on_error, dataset.name)
                if on_error == "raise":
                    _raise_bad_audio(dataset.name, _bad_audio(records), len(dataset), store)
                _finalise(store, shards, records)
            shutil.rmtree(store / "shards", ignore_errors=True)
    _claim(store, manifest)
    _check_tracks(dataset.name, shards, store, on_error)
    return load_features(store)


def _is_complete(store: Path) -> bool:
    """Whether an extraction has come to its end here: its index is written last."""
    return (store / "index.parquet").is_file()


def _refuse_strange(store: Path) -> None:
    """Refuse a folder that holds other things than a feature store."""
    inside = {path.name for path in store.iterdir()} if store.exists() else set()
    visible = {name for name in inside if not name.startswith(".")}
    if visible and "manifest.json" not in visible:
        raise ValueError(
            f"{store}: not empty, and no feature store (it has no manifest.json); give a new "
            "or empty folder"
        )


def _refuse_fork(executor: Executor | None) -> None:
    """Refuse a pool of forked processes: there PyTorch's threads would wait for ever."""
    context = getattr(executor, "_mp_context", None)  # only a ProcessPoolExecutor has one
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "a pool of forked processes hangs in PyTorch; make it with "
            'ProcessPoolExecutor(..., mp_context=multiprocessing.get_context("spawn"))'
        )


@dataclass(frozen=True)
class _Track:
    """A track as the extraction sees it."""

    name: str
    audio: str | None
    audio_bytes: int | None  # None: there is no file


@dataclass(frozen=True)
class _Shard:
    """The unit of work: neighbouring tracks whose features go into one file."""

    path: Path
    tracks: tuple[_Track, ...]


@dataclass(frozen=True)
class _Job:
    """What a worker has to know besides the shard."""

    encoder: "_Carrier"
    settings: dict  # of the manifest, what `_computing` has to give on the worker as well
    batch_size: int
    decode_threads: int
    # dask takes two tasks with equal arguments for one and may hand out the first one's result,
    # so every run is marked.
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


class _Carrier:
    """An encoder on its way to a worker: to another process only the recipe travels."""

    def __init__(self, encoder: "Encoder") -> None:
        self.encoder = encoder

    def __reduce__(self) -> tuple:
        spec = getattr(self.encoder, "spec", None)
        return (_Carrier, (self.encoder,)) if spec is None else (_unpack, (spec,))


def _unpack(spec: dict) -> _Carrier:

    return _Carrier(load_cached(spec))


def _manifest(
    dataset: Dataset, encoder: "Encoder", tracks_per_shard: int, batch_size: int
) -> dict[str, object]:
    """Everything that decides the values."""
    return {
        "format": 1,
        "dataset": dataset.name,
        "dtype": "float16",
        "tracks_per_shard": tracks_per_shard,
        "batch_size": batch_size,
        "tracks": dataset.tracks.index.tolist(),
    } | _computing(encoder)


def _computing(encoder: "Encoder") -> dict[str, object]:
    """The part of the manifest that has to be the same in every worker, as JSON gives it back."""
    packages = ("numpy", "soundfile", "soxr", "torch", "transformers")
    versions = {package: version(package) for package in packages}
    versions |= {"mer-utils": __version__, "libsndfile": soundfile.__libsndfile_version__}
    settings = {"encoder": encoder.settings(), "versions": versions, "code": code_hash(encoder)}
    return json.loads(json.dumps(settings, allow_nan=False))


def _claim(store: Path, manifest: dict) -> None:
    """Write the manifest of a new store, or make sure that an old one has the same settings."""
    path = store / "manifest.json"
    if not path.is_file():
        storage.write_json(path, manifest)
        return
    differences = _differences(storage.read_json(path), manifest)
    if _is_complete(store):  # nothing will be mixed into it any more
        differences = {k: v for k, v in differences.items() if not k.startswith(_ROUNDING)}
    if differences:
        raise ValueError(
            f"{store}: holds features made with other settings: {'; '.join(differences.values())}. "
            "Go back to those settings, or give another folder (or delete this one) to make new "
            "features"
        )


def _differences(before: object, now: object, name: str = "") -> dict[str, str]:
    """Which settings differ between two manifests, and how, in words."""
    if before == now:
        return {}
    if isinstance(before, dict) and isinstance(now, dict):
        inner = [
            _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
            for key in before | now
        ]
        return {k: v for part in inner for k, v in part.items()}
    if name == "tracks":
        first = next((pair for pair in zip(before, now, strict=False) if pair[0] != pair[1]), None)
        where = f", first {first[0]!r} there and {first[1]!r} now" if first else ""
        return {name: f"{len(before)} tracks there and {len(now)} now{where}"}
    if name == "code":
        return {name: "the code of the encoder, of cutting or of rounding (PASSES) is another"}
    return {name: f"{name} is {before!r} there and {now!r} now"}


def _plan(dataset: Dataset, store: Path, tracks_per_shard: int) -> list[_Shard]:
    """Cut the dataset into shards."""
    paths = (path if isinstance(path, str) else None for path in dataset.tracks["audio"])
    tracks = [
        _Track(name, path, _file_size(path))
        for name, path in zip(dataset.tracks.index, paths, strict=True)
    ]
    return [
        _Shard(
            store / "shards" / f"{number:05d}.safetensors",
            tuple(tracks[first : first + tracks_per_shard]),
        )
        for number, first in enumerate(range(0, len(tracks), tracks_per_shard))
    ]


def _file_size(path: str | None) -> int | None:
    try:
        return None if path is None else os.path.getsize(path)
    except OSError:
        return None


def _require_audio(name: str, shards: Sequence[_Shard]) -> None:
    """Stop before any work if tracks have no audio file."""
    tracks = [track for shard in shards for track in shard.tracks]
    missing = [track for track in tracks if track.audio_bytes is None]
    if missing:
        raise AudioError(
            f"{name}: {len(missing)} of {len(tracks)} tracks have no audio file, first: "
            f"{missing[0].name} ({missing[0].audio or 'no path'}); put the files in place, or pass "
            "on_error='skip' to leave these tracks out"
        )


def _run(
    shards: Sequence[_Shard], job: _Job, executor: Executor | None, on_error: str, name: str
) -> list[dict]:
    """Do the shards that are not there yet; gives the records of all."""
    records = {shard.path: _read_record(shard, job) for shard in shards}
    missing = [shard for shard in shards if not _is_done(records[shard.path], on_error)]
    waiting = sum(len(shard.tracks) for shard in missing)
    total = sum(len(shard.tracks) for shard in shards)
    seconds = sum(sum(record["seconds"]) for record in records.values() if record)
    with progress_bar(total=total, initial=total - waiting, desc=name, unit="track") as bar:

        def show(more: float, tracks: int = 1) -> None:
            nonlocal seconds
            seconds += more
            bar.set_postfix_str(f"{seconds / 3600:.2f} h of audio", refresh=False)
            bar.update(tracks)

        if executor is None:
            done = _work(missing, job, show)
        else:
            done = _hand_out(missing, job, executor, show)
        with closing(done):
            records |= dict(done)
    return [records[shard.path] for shard in shards]


def _hand_out(
    shards: Sequence[_Shard], job: _Job, executor: Executor, show: Callable[[float, int], None]
) -> Iterator[tuple[Path, dict]]:
    """Let an executor do the shards; gives the path and record of each as it is done."""
    futures = {executor.submit(_do_shard, shard, job): shard for shard in shards}
    try:
        for future in as_completed(futures):
            shard = futures[future]
            try:
                record = future.result()
            except Exception as error:
                raise RuntimeError(
                    f"shard {shard.path.stem} ({shard.tracks[0].name} to "
                    f"{shard.tracks[-1].name}) failed in its worker: {error!r}; finished shards "
                    "are kept, so mend the cause and run again"
                ) from error
            show(sum(record["seconds"]), len(shard.tracks))
            yield shard.path, record
    finally:  # also on Ctrl-C: do not begin what nobody waits for
        for future in futures:
            future.cancel()


def _do_shard(shard: _Shard, job: _Job) -> dict:
    """What a worker runs: one shard, unless it is there already."""
    record = _read_record(shard, job)
    if record and not any(record["errors"]):  # a cluster may ask twice after losing a worker
        return record
    ((_, record),) = _work([shard], job)
    return record


def _work(
    shards: Sequence[_Shard], job: _Job, show: Callable[[float], None] | None = None
) -> Iterator[tuple[Path, dict]]:
    """Do shards one after another, decoding ahead; gives the path and record of each.

    Decoding runs ahead over the border between shards, so the encoder does not wait there.
    """
    _check_worker(job)
    encoder = job.encoder.encoder
    tracks = [track for shard in shards for track in shard.tracks]
    with closing(_decoded(tracks, encoder, job.decode_threads)) as waveforms:
        for shard in shards:
            tensors, record = _encode(shard, waveforms, encoder, job.batch_size, show)
            record["settings"] = storage.settings_hash(job.settings)
            storage.write_tensors(shard.path, tensors, {"record": json.dumps(record)})
            yield shard.path, record


def _check_worker(job: _Job) -> None:
    """Make sure that the worker computes what the manifest says."""
    differences = _differences(job.settings, _computing(job.encoder.encoder))
    if differences:
        raise RuntimeError(
            f"the worker on {socket.gethostname()} differs from the manifest ('there'): "
            f"{'; '.join(differences.values())}; give all machines the same environment and weights"
        )


def _decoded(
    tracks: Iterable[_Track], encoder: "Encoder", threads: int
) -> Iterator[np.ndarray | AudioError]:
    """Read tracks in order, some ahead in threads; one that cannot be read gives its error."""
    ahead: deque = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for track in tracks:
                ahead.append(pool.submit(_decode, track, encoder))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()


def _decode(track: _Track, encoder: "Encoder") -> np.ndarray | AudioError:
    """The waveform (samples,) of a track, or the reason why it has none."""
    if track.audio_bytes is None:
        return AudioError(f"{track.audio or 'no path'}: no audio file")
    size = _file_size(track.audio)
    if size != track.audio_bytes:
        raise RuntimeError(
            f"{track.audio}: {size} bytes on {socket.gethostname()} but {track.audio_bytes} where "
            "the extraction was started; every worker has to see the same audio files"
        )
    try:
        waveform = audio.read(track.audio, encoder.sample_rate)
    except AudioError as error:
        return error
    if len(waveform) < encoder.minimum_samples:
        return AudioError(
            f"{track.audio}: {len(waveform)} samples at {encoder.sample_rate} Hz, but "
            f"{encoder.name} needs at least {encoder.minimum_samples}"
        )
    return waveform


def _encode(
    shard: _Shard,
    waveforms: Iterator[np.ndarray | AudioError],
    encoder: "Encoder",
    batch_size: int,
    show: Callable[[float], None] | None,
) -> tuple[dict[str, torch.Tensor], dict]:
    """Encode the shard's tracks; gives the tensors of its file and its record."""
    record = {
        "tracks": [track.name for track in shard.tracks],
        "audio_bytes": [track.audio_bytes for track in shard.tracks],
        "seconds": [0.0] * len(shard.tracks),
        "errors": [None] * len(shard.tracks),
    }
    index: list[
        tuple[int, float, float]
    ] = []  # of each segment: track in the shard, start, seconds

    def pieces() -> Iterator[np.ndarray]:
        for row, waveform in enumerate(islice(waveforms, len(shard.tracks))):
            if isinstance(waveform, AudioError):
                record["errors"][row] = str(waveform)
            else:
                record["seconds"][row] = len(waveform) / encoder.sample_rate
                cut = audio.segments(waveform, encoder.sample_rate, encoder.segment_seconds)
                seconds = cut.shape[1] / encoder.sample_rate
                index.extend((row, number * seconds, seconds) for number in range(len(cut)))
                yield from cut
            if show:
                show(record["seconds"][row])

    values: dict[int, np.ndarray] = {}  # segment: (layers, dim)
    for batch in _batches(pieces(), batch_size):
        waves = np.stack(list(batch.values()))  # (batch, samples)
        values |= zip(batch, _to_half(encoder(waves), encoder), strict=True)
    shape = (len(index), len(encoder.layers), encoder.dim)
    ordered = np.array([values[i] for i in range(len(index))], dtype=np.float16)
    rows, starts, seconds = np.array(index, dtype=np.float64).reshape(-1, 3).T
    tensors = {
        "values": torch.from_numpy(ordered.reshape(shape)),  # (segments, layers, dim)
        "rows": torch.from_numpy(rows.astype(np.int64)),
        "starts": torch.from_numpy(starts),
        "seconds": torch.from_numpy(seconds),
    }
    return tensors, record


def _batches(pieces: Iterable[np.ndarray], batch_size: int) -> Iterator[dict[int, np.ndarray]]:
    """Gather pieces of one length, `batch_size` at a time and the rest at the end.

    Gives {number of the piece: piece}. It depends on the pieces alone what comes with what, and
    nothing is padded to make it fit.
    """
    waiting: dict[int, dict[int, np.ndarray]] = defaultdict(dict)  # by length in samples
    for number, piece in enumerate(pieces):
        waiting[len(piece)][number] = piece
        if len(waiting[len(piece)]) == batch_size:
            yield waiting.pop(len(piece))
    yield from waiting.values()


def _to_half(output: np.ndarray, encoder: "Encoder") -> np.ndarray:
    """The encoder's output (batch, layers, dim) as float16, if it fits."""
    output = np.asarray(output)
    with np.errstate(over="ignore"):  # reported below
        half = output.astype(np.float16)
    for i, layer in enumerate(encoder.layers):
        if not np.isfinite(half[:, i]).all():
            largest = np.abs(output[:, i]).max()
            raise ValueError(
                f"{encoder.name}: layer {layer} has values up to {largest:.3g}, which float16 "
                "(up to 65504) cannot hold; leave this layer out"
            )
    return half


def _read_record(shard: _Shard, job: _Job) -> dict | None:
    """What the shard's file says of itself; None if there is none or it is of no use now.

    Of no use are a damaged file and one made of other audio files or with other settings.
    """
    try:
        with safe_open(shard.path, framework="np") as file:
            record = json.loads(file.metadata()["record"])
    except (FileNotFoundError, SafetensorError):
        return None
    same = (
        record["tracks"] == [track.name for track in shard.tracks]
        and record["audio_bytes"] == [track.audio_bytes for track in shard.tracks]
        and record["settings"] == storage.settings_hash(job.settings)
    )
    return record if same else None


def _is_done(record: dict | None, on_error: str) -> bool:
    """Whether a shard can stay as it is; one with bad audio gets another try unless skipping."""
    return record is not None and (on_error == "skip" or not any(record["errors"]))


def _bad_audio(records: Sequence[dict]) -> dict[str, str]:
    """The tracks that could not be read, and why."""
    return {
        track: error
        for record in records
        for track, error in zip(record["tracks"], record["errors"], strict=True)
        if error
    }


def _raise_bad_audio(name: str, bad: dict[str, str], tracks: int, store: Path) -> None:
    """One error for all tracks that could not be read, if there are any."""
    if bad:
        listed = "\n".join(f"  {track}: {error}" for track, error in bad.items())
        raise AudioError(
            f"{name}: {len(bad)} of {tracks} tracks could not be read:\n{listed}\nThe others are "
            f"kept in {store}. Repair or replace these files and run again (only their shards are "
            "done again), or pass on_error='skip' to leave these tracks out"
        )


# ---------------------------------------------------------------------------------- Completing


def _finalise(store: Path, shards: Sequence[_Shard], records: Sequence[dict]) -> None:
    """Put the shards together into the final files; the index comes last and makes it complete.

    Shard by shard, with plain writes rather than a writable map, so memory stays flat. If it is
    interrupted, the next run does it again from the shards.
    """
    for leftover in store.rglob(".*.tmp"):  # of runs that were killed while writing
        leftover.unlink(missing_ok=True)
    tracks, index = _tables(shards, records)
    if not len(index):
        raise AudioError(f"{store}: none of the {len(tracks)} tracks could be read")
    with storage.replacing(store / "values.npy") as temporary, open(temporary, "wb") as file:
        done = 0
        for shard in shards:
            with safe_open(shard.path, framework="np") as opened:
                values = opened.get_tensor("values")  # (segments of the shard, layers, dim)
            _, layers, dim = values.shape
            if file.tell() == 0:
                shape = (layers, len(index), dim)
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                begin = file.tell()
            for i in range(layers):
                file.seek(begin + (i * len(index) + done) * dim * values.itemsize)
                file.write(np.ascontiguousarray(values[:, i]))
            done += len(values)
    storage.write_table(store / "tracks.parquet", tracks)
    storage.write_table(store / "index.parquet", index)


def _tables(shards: Sequence[_Shard], records: Sequence[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of tracks and of segments."""
    tracks, segments = [], []
    for number, (shard, record) in enumerate(zip(shards, records, strict=True)):
        with safe_open(shard.path, framework="np") as file:
            rows, starts, seconds = (file.get_tensor(k) for k in ("rows", "starts", "seconds"))
        ids = np.array(record["tracks"], dtype=object)
        segments.append(
            pd.DataFrame({"track": ids[rows], "start": starts, "seconds": seconds, "shard": number})
        )
        counts = np.bincount(rows, minlength=len(ids))
        part = {"track": ids, "audio_bytes": pd.array(record["audio_bytes"], dtype="Int64")}
        part |= {"segments": counts, "seconds": record["seconds"], "shard": number}
        tracks.append(pd.DataFrame(part | {"error": pd.array(record["errors"], dtype="string")}))
    return pd.concat(tracks, ignore_index=True), pd.concat(segments, ignore_index=True)


def _check_tracks(name: str, shards: Sequence[_Shard], store: Path, on_error: str) -> None:
    """Make sure that a complete store still fits the audio, and name the tracks that it lacks.

    Audio that has been deleted since does not matter: its features are there.
    """
    tracks = pd.read_parquet(store / "tracks.parquet")
    now = pd.array([t.audio_bytes for shard in shards for t in shard.tracks], dtype="Int64")
    changed = tracks[(tracks["audio_bytes"] != now).fillna(False).to_numpy(dtype=bool)]
    if len(changed):
        raise ValueError(
            f"{name}: the audio of {len(changed)} tracks is not what the features in {store} were "
            f"made of, first: {changed['track'].iloc[0]} ({changed['audio_bytes'].iloc[0]} bytes "
            "then); restore it, or give another folder (or delete this one) to make new features"
        )
    bad = tracks[tracks["error"].notna()]
    if len(bad) and on_error == "raise":
        _raise_bad_audio(
            name, dict(zip(bad["track"], bad["error"], strict=True)), len(tracks), store
        )
    if len(bad):
        warnings.warn(
            f"{name}: {len(bad)} of {len(tracks)} tracks could not be read and have no features, "
            f"first: {bad['track'].iloc[0]}; {store / 'tracks.parquet'} says why",
            stacklevel=3,
        )
