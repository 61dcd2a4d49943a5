"""Audio features: the encoder's layers averaged over the time of each segment.

`extract` turns a dataset's audio into one vector a segment and layer, once, and `load_features`
reads them back. The unit of work is the shard, a fixed number of neighbouring tracks: what makes a
shard or a batch follows from the dataset's order and the settings alone, so it does not matter who
does a shard, when, or after how many interruptions. A store holds one dataset with one set of
settings; it is a folder:

    manifest.json                   every setting that decides the values; written first
    shards/00000.safetensors ...    while the extraction runs; removed once it is complete
    values.npy                      (layers, segments, dim) float16: one contiguous array a layer
    tracks.parquet                  a row a track: audio_bytes, segments, seconds, shard, error
    index.parquet                   a row a segment: track, start, seconds, shard; written last

Conventions: starts and durations in seconds; segments stand in the dataset's order of tracks,
those of a track together and in time; `sound.audio.segments` cuts them and never pads.
docs/extraction.md tells how to run this on several cores, a cluster or several GPUs.
"""

import json
import os
import shutil
import socket
import uuid
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count, groupby, zip_longest
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from pydantic import create_model
from safetensors import safe_open

from mer_utils import __version__, code, storage
from mer_utils.data.types import Dataset, EncoderSettings, Features, Layer
from mer_utils.progress import in_processes, progress_bar
from mer_utils.sound import audio
from mer_utils.sound.audio import AudioError
from mer_utils.sound.encoders import ENCODERS, Encoder

MANIFEST = create_model("manifest.json", encoder=EncoderSettings)  # what is read of it
WORTH_WORKERS = 6  # shards: a process takes as long to begin as one or two take

# Settings that decide no more than how the last bit is rounded.
_ROUNDING = ("batch_size", "tracks_per_shard", "versions.", "encoder.device", "encoder.torch")
_ROUNDING += ("encoder.transformers",)
_PACKAGES = ("numpy", "soundfile", "soxr", "torch", "transformers")  # whose versions are recorded


def load_features(store: str | Path, layers: Sequence[Layer] | None = None) -> Features:
    """Open a store that `extract` has completed, without reading the values into memory.

    layers: as the encoder numbers or names them, in the order wanted; None for all.
    Returns features whose values are float16, mapped from the file; only layers at irregular
    distances, such as (0, 1, 5), are copied.
    Raises ValueError if the store is not complete or lacks a layer.
    """
    store = Path(store)
    if not _is_complete(store):
        raise ValueError(f"{store}: no complete features here; run extract to make or finish them")
    index = storage.read_table(store / "index.parquet", ("start",), ("track",))
    encoder = storage.read_json(store / "manifest.json", MANIFEST)["encoder"]
    shape = (len(encoder["layers"]), len(index), encoder.get("dim"))  # (layers, segments, dim)
    values = storage.read_array(store / "values.npy", shape, memory_map=True)
    if layers is not None:
        there, layers = encoder["layers"], list(layers)
        if not layers or not set(layers) <= set(there):
            raise ValueError(f"{store}: no layers {layers} here; there are {there}")
        places = [there.index(layer) for layer in layers]
        step = places[1] - places[0] if len(places) > 1 else 1
        even = step and set(np.diff(places)) <= {step}  # then a slice, which maps
        values = values[places[0] :: step][: len(places)] if even else values[places]
        encoder["layers"] = layers
    tracks, starts = index["track"].to_numpy(dtype=str), index["start"].to_numpy()
    return Features(values.transpose(1, 0, 2), tracks, starts, encoder)  # (segments, layers, dim)


def code_hash(encoder: Encoder, module: str = "sound.features") -> str:
    """Hash of the code that an encoder's features pass through.

    module: where it begins, beside the encoder's own.
    """
    network = type(getattr(encoder, "network", encoder))
    home = network.__module__.removeprefix("mer_utils.")
    modules = (module,) if home == network.__module__ else (module, home)
    package = code.modules_hash(*modules, leave_out=("data", "projector", "labels", "metrics"))
    own = [code.own_hash(thing) for thing in (network, ENCODERS.get(encoder.name)) if thing]
    return storage.settings_hash({"package": package, "own": own})


def workers(encoder: Encoder) -> int | None:
    """How many processes may encode at a time (`progress.in_processes`): one on a GPU, or with an
    encoder of the user's own, whose source only this process may have (a notebook's cell).
    """
    network = getattr(encoder, "network", encoder)
    makers = (type(network), ENCODERS.get(encoder.name, encoder))
    ours = all(getattr(x, "__module__", "").startswith("mer_utils.") for x in makers)
    return None if ours and network.device.type == "cpu" else 1


def extract(
    dataset: Dataset,
    encoder: Encoder,
    store: str | Path,
    executor: Executor | None = None,
    *,
    on_error: str = "raise",
    tracks_per_shard: int = 8,
    batch_size: int = 8,
    decode_threads: int = 2,
    jobs: int | None = None,
) -> Features:
    """Encode every segment of every track, going on where an earlier run stopped.

    encoder: workers in other processes load it again.
    store: folder of the result, new or begun with the same dataset and settings. A second process
        that is asked for the same store waits until the first has made it.
    executor: any of `concurrent.futures`, or dask.distributed's `Client.get_executor()`; it takes
        a shard at a time. None: processes of its own, as `jobs` says.
    on_error: if audio cannot be read, "raise" one AudioError at the end that lists all such files,
        or "skip" these tracks, with a warning and their reason in tracks.parquet.
    tracks_per_shard: what a crash can cost. batch_size: segments of equal length to encode at once.
    decode_threads: of each worker, while the encoder works. Memory grows with all three.
    jobs: shards at a time, each by a process with one thread, where no executor is given. None: as
        many as there are cores, but 1 with little to do or on a GPU; 1 works in this process.
    Returns the features, mapped from the store.
    Raises AudioError, or ValueError if the store was made with other settings.
    """
    counts = {"tracks": len(dataset), "tracks_per_shard": tracks_per_shard, "jobs": jobs}
    counts |= {"batch_size": batch_size, "decode_threads": decode_threads}
    if on_error not in ("raise", "skip") or any(x is not None and x < 1 for x in counts.values()):
        raise ValueError(f"{counts}, each at least 1; {on_error=}, 'raise' or 'skip'")
    context = getattr(executor, "_mp_context", None)  # only a ProcessPoolExecutor has one
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "a pool of forked processes waits for PyTorch's threads for ever; give it "
            'mp_context=multiprocessing.get_context("spawn")'
        )
    store, settings = Path(store), _settings(encoder)
    manifest = {"format": 1, "dataset": dataset.name, "dtype": "float16"}
    manifest |= {"tracks_per_shard": tracks_per_shard, "batch_size": batch_size}
    manifest |= {"tracks": dataset.tracks.index.tolist(), **settings}
    tracks = [
        {"track": t, "audio": path, "audio_bytes": _file_size(path), "shard": n // tracks_per_shard}
        for n, (t, path) in enumerate(dataset.tracks["audio"].fillna("no path").items())
    ]
    if not _is_complete(store):
        with storage.locked(store):
            _claim(store, manifest)
            if not _is_complete(store):  # nobody else has made it meanwhile
                if on_error == "raise":
                    missing = (t for t in tracks if t["audio_bytes"] is None)
                    _refuse(dataset, {t["track"]: f"{t['audio']}: no file" for t in missing})
                job = (encoder, settings, batch_size, decode_threads)
                shards = [
                    _Shard(store / "shards" / f"{number:05d}.safetensors", list(part), *job)
                    for number, part in groupby(tracks, itemgetter("shard"))
                ]
                _run(shards, executor, on_error, dataset.name, jobs)
                _pack(shards, store, on_error, dataset)
    _claim(store, manifest)
    shutil.rmtree(store / "shards", ignore_errors=True)
    _check_tracks(dataset, tracks, store, on_error)
    return load_features(store)


def _is_complete(store: Path) -> bool:
    """Whether an extraction has come to its end here: its index is written last."""
    return all((store / f"{name}.parquet").is_file() for name in ("index", "tracks"))


def _settings(encoder: Encoder) -> dict:
    """The part of the manifest that has to be the same in every worker, as JSON gives it back."""
    versions = {package: version(package) for package in _PACKAGES}
    versions |= {"mer-utils": __version__, "libsndfile": soundfile.__libsndfile_version__}
    settings = {"encoder": encoder.settings(), "versions": versions, "code": code_hash(encoder)}
    return json.loads(json.dumps(settings, allow_nan=False))


def _claim(store: Path, manifest: dict) -> None:
    """Write the manifest of a new store, or make sure that an old one has the same settings."""
    path = store / "manifest.json"
    if not path.is_file():
        if any(not inside.name.startswith(".") for inside in store.iterdir()):
            raise ValueError(f"{store}: not empty, and no feature store; give another folder")
        storage.write_json(path, manifest)
    differences = _differences(storage.read_json(path, MANIFEST), manifest)
    if _is_complete(store):  # nothing will be mixed into it any more
        differences = {k: v for k, v in differences.items() if not k.startswith(_ROUNDING)}
    if differences:
        raise ValueError(
            f"{store}: holds features made with other settings: {'; '.join(differences.values())}. "
            "Go back to those settings, or give another folder (or delete this one)"
        )


def _differences(before: Mapping, now: Mapping) -> dict[str, str]:
    """Which settings differ between two manifests, by dotted name, and how, in words."""
    before, now = (pd.json_normalize(x).to_dict("records")[0] for x in (before, now))  # flat
    found = {}
    for name in before | now:
        there, here = before.get(name), now.get(name)
        if there != here:
            if isinstance(there, list) and isinstance(here, list):  # the first that differs
                there, here = next(two for two in zip_longest(there, here) if two[0] != two[1])
            found[name] = f"{name} is {there!r} there and {here!r} now"
    return found


@dataclass(frozen=True)
class _Shard:
    """The unit of work: neighbouring tracks whose features go into one file.

    tracks: a row each: "track" (its name), "audio" (path), "audio_bytes" (None: no file), "shard".
    settings: what `_settings` has to give in the worker as well.
    """

    path: Path
    tracks: list[dict]
    encoder: Encoder
    settings: dict
    batch_size: int
    decode_threads: int

    def __dask_tokenize__(self) -> str:
        """Dask takes equal calls for one: the same shard asked for again is another call."""
        return uuid.uuid4().hex


def _file_size(path: str) -> int | None:
    return os.path.getsize(path) if os.path.isfile(path) else None


def _run(
    shards: Sequence[_Shard],
    executor: Executor | None,
    on_error: str,
    name: str,
    jobs: int | None,
) -> None:
    """Do the shards that are not there yet; one with bad audio gets another try unless skipping."""
    missing = []
    for shard in shards:
        rows = _rows_of(shard)
        if rows is None or (on_error == "raise" and any(row["error"] for row in rows)):
            shard.path.unlink(missing_ok=True)
            missing.append(shard)
    if executor is None:
        jobs = jobs or workers(shards[0].encoder)
        done = in_processes(_work, missing, jobs, least=WORTH_WORKERS, desc=name, unit="shard")
        deque(done, maxlen=0)
        return
    futures = [executor.submit(_work, shard) for shard in missing]
    try:
        done = as_completed(futures)
        for future in progress_bar(done, total=len(futures), desc=name, unit="shard"):
            future.result()
    finally:  # also on Ctrl-C: do not begin what nobody waits for
        for future in futures:
            future.cancel()


def _work(shard: _Shard) -> None:
    """What an executor runs: write a shard's file, if none is there (a cluster may ask twice)."""
    if differences := _differences(shard.settings, _settings(shard.encoder)):
        raise RuntimeError(
            f"the worker on {socket.gethostname()} differs from the manifest ('there'): "
            f"{'; '.join(differences.values())}; give all machines the same environment and weights"
        )
    if _rows_of(shard) is None:
        values, rows = _encode(shard)
        tensors = {"values": torch.from_numpy(values).swapaxes(0, 1).contiguous()}  # layers first
        told = {"rows": rows, "seal": _seal(rows, tensors)}
        storage.write_tensors(shard.path, tensors, {"told": json.dumps(told)})


def _seal(rows: list[dict], tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of all that a shard's file holds."""
    return storage.settings_hash({"rows": rows, "sha256": storage.tensors_hash(tensors)})


def _rows_of(shard: _Shard) -> list[dict] | None:
    """The rows of `_decode` in a shard's file; None if it is missing, changed or of other audio."""
    try:
        tensors = storage.read_tensors(shard.path)
        with safe_open(shard.path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
        rows = told["rows"]
        same = told["seal"] == _seal(rows, tensors)
        fits = all(row | track == row for row, track in zip(rows, shard.tracks, strict=True))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return rows if same and fits else None


def _encode(shard: _Shard) -> tuple[np.ndarray, list[dict]]:
    """Encode the segments of a shard: (segments, layers, dim) float16, and the tracks' rows.

    Segments of one length go together, `batch_size` at a time and the rest at the end.
    """
    encoder = shard.encoder
    rows: list[dict] = []
    values: dict[tuple[int, int], np.ndarray] = {}  # numbers of track and segment: (layers, dim)
    waiting: dict[int, dict[tuple[int, int], np.ndarray]] = defaultdict(dict)  # by samples
    numbers = count()

    def encode(batch: dict[tuple[int, int], np.ndarray]) -> None:
        try:
            output = encoder(np.stack(list(batch.values())))  # (batch, layers, dim)
        except FloatingPointError as error:
            tracks = ", ".join(sorted({shard.tracks[number]["track"] for number, _ in batch}))
            raise ValueError(f"{error} Or is one of these far beyond -1 to 1: {tracks}?") from error
        values.update(zip(batch, _to_half(output, encoder), strict=True))

    for found in _decoded(shard):
        if isinstance(found, dict):  # a track's end
            rows.append(found)
            continue
        for segment in found:
            waiting[len(segment)][len(rows), next(numbers)] = segment
            if len(waiting[len(segment)]) == shard.batch_size:
                encode(waiting.pop(len(segment)))
    for batch in waiting.values():
        encode(batch)
    whole = (place for place in sorted(values) if rows[place[0]]["error"] is None)
    ordered = np.array([values[place] for place in whole], dtype=np.float16)
    return ordered.reshape(-1, len(encoder.layers), encoder.dim), rows


def _decoded(shard: _Shard) -> Iterator[np.ndarray | dict]:
    """What `_decode` gives of each track in turn, while threads decode the next few stretches."""
    tracks = [_decode(shard.encoder, track) for track in shard.tracks]
    with ThreadPoolExecutor(shard.decode_threads) as pool:
        coming = deque(pool.submit(next, track) for track in tracks[: shard.decode_threads])
        for number, track in enumerate(tracks, shard.decode_threads):
            found = coming.popleft().result()
            while not isinstance(found, dict):
                rest = pool.submit(next, track)
                yield found
                found = rest.result()
            coming.extend(pool.submit(next, after) for after in tracks[number : number + 1])
            yield found


def _decode(encoder: Encoder, track: dict) -> Iterator[np.ndarray | dict]:
    """A track's segments (segments, samples), a stretch at a time, and then its row for the tables.

    If that has an error, the segments count for nothing.
    """
    path, rate = track["audio"], encoder.sample_rate
    if (size := _file_size(path)) != track["audio_bytes"]:
        raise RuntimeError(
            f"{path}: {size} bytes on {socket.gethostname()}, {track['audio_bytes']} where the "
            "extraction began; all workers have to see the same files"
        )
    nothing = {"segments": 0, "seconds": 0.0, "segment_seconds": 0.0}
    error, row = None, nothing
    try:
        shortest = max(audio.MINIMUM_SECONDS, encoder.minimum_samples / rate)
        length = round(encoder.segment_seconds * rate)
        for _, cut, end in audio.windows(audio.stream(path, rate, shortest), length, length):
            yield cut
            found = {"segments": row["segments"] + len(cut), "seconds": end / rate}
            row = found | {"segment_seconds": cut.shape[1] / rate}
    except AudioError as problem:
        error, row = str(problem), nothing
    yield track | row | {"error": error}


def _to_half(output: np.ndarray, encoder: Encoder) -> np.ndarray:
    """The encoder's output (batch, layers, dim) as float16, if it fits."""
    with np.errstate(over="ignore"):  # reported below
        half = output.astype(np.float16)
    fits = np.isfinite(half).all(axis=(0, 2))  # (layers,)
    if not fits.all():
        raise ValueError(
            f"{encoder.name}: layer {encoder.layers[fits.argmin()]} has values beyond 65504, which "
            "float16 cannot hold; leave this layer out"
        )
    return half


def _pack(shards: Sequence[_Shard], store: Path, on_error: str, dataset: Dataset) -> None:
    """Put the shards together into the final files; the index comes last and makes it complete."""
    of_shards = [_rows_of(shard) for shard in shards]
    if None in of_shards:
        changed = shards[of_shards.index(None)].path
        raise ValueError(f"{changed}: {storage.CHANGED} by this run; run again")
    rows = [row for own in of_shards for row in own]
    tracks = pd.DataFrame(rows).astype({"audio_bytes": "Int64", "error": "string"})
    if on_error == "raise":
        _refuse(dataset, tracks.set_index("track")["error"].dropna())
    index = tracks.loc[tracks.index.repeat(tracks["segments"])]
    if index.empty:
        raise AudioError(f"{dataset.name}: no track could be read, first {tracks['error'][0]}")
    start = index.groupby(level=0).cumcount() * index["segment_seconds"]
    index = index.assign(start=start, seconds=index["segment_seconds"]).reset_index(drop=True)
    for leftover in store.rglob(".*.tmp"):  # of runs that were killed while writing
        leftover.unlink(missing_ok=True)
    with storage.replacing(store / "values.npy") as temporary, open(temporary, "wb") as file:
        encoder = shards[0].encoder
        shape = (len(encoder.layers), len(index), encoder.dim)
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for layer in range(len(encoder.layers)):
            for shard in shards:  # one at a time, so memory stays flat
                with safe_open(shard.path, framework="np") as tensors:
                    file.write(tensors.get_slice("values")[layer].tobytes())
    columns = ["track", "audio_bytes", "segments", "seconds", "shard", "error"]
    storage.write_table(store / "tracks.parquet", tracks[columns])
    storage.write_table(store / "index.parquet", index[["track", "start", "seconds", "shard"]])


def _check_tracks(dataset: Dataset, tracks: Sequence[dict], store: Path, on_error: str) -> None:
    """Make sure that a complete store still fits the audio that is there, and tell of bad audio."""
    table = storage.read_table(store / "tracks.parquet", texts=("track",)).set_index("track")
    now = pd.array([track["audio_bytes"] for track in tracks], dtype="Int64")
    changed = table.index[(table["audio_bytes"] != now).fillna(False)]
    if len(changed):
        raise ValueError(
            f"{store}: the audio of {len(changed)} tracks has changed since, first {changed[0]}; "
            "restore it, or give another folder (or delete this one)"
        )
    bad = table["error"].dropna()
    if on_error == "raise":
        _refuse(dataset, bad)
    elif len(bad):
        told = f"{len(bad)} of {len(table)} tracks could not be read and have no features"
        warnings.warn(f"{dataset.name}: {told}; tracks.parquet says why", stacklevel=3)


def _refuse(dataset: Dataset, errors: Mapping[str, str]) -> None:
    """One error for all tracks that could not be read, if there are any."""
    if len(errors):
        listed = "\n".join(f"  {track}: {error}" for track, error in errors.items())
        raise AudioError(
            f"{dataset.name}: {len(errors)} of {len(dataset)} tracks could not be read:\n{listed}\n"
            "Repair these files and run again, or pass on_error='skip'"
        )
