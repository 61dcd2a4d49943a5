"""What it costs to turn audio into features, and how much of it is not the encoder itself.

    python benchmarks/extraction.py                      a minute or two on two cores
    python benchmarks/extraction.py --audio FOLDER       with your own mp3s instead of noise

MERT is timed at full size with random weights, which cost the same time as the published ones.
Costs on a CPU are CPU seconds of all threads, and PyTorch has one thread unless told otherwise
(idle ones would spin and count), so they hold on a busy machine too. Extraction is compared with
the bare forward pass over the same segments, taking turns.
"""

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from mer_utils import sound, storage
from mer_utils.data import Dataset
from mer_utils.evaluation.tables import markdown
from mer_utils.sound import Encoder, audio, load_encoder, random_mert

ENCODERS = ("musicnn", "mert")
PARTS = ("decode", "encoders", "throughput", "memory")
Row = tuple[str, float, str]  # what, value, unit


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        for part in arguments.parts:
            for what, value, unit in getattr(bench, part)():
                print(f"{what}: {value:.4g} {unit}", flush=True)
                rows.append((what, f"{value:.3g}", unit))
    table = pd.DataFrame(rows, columns=["what", "value", "unit"]).set_index("what")
    text = f"{machine(arguments.device)}\n\n{markdown(table)}\n"
    print(f"\n{text}")
    if arguments.markdown:
        storage.write_text(arguments.markdown, text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, help="folder with mp3s (default: 30 s of noise each)")
    parser.add_argument("--tracks", type=int, default=3, help="tracks for the throughput")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on a CPU")
    parser.add_argument("--size", choices=("95m", "330m"), default="95m", help="of MERT")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, help="default: 8, on a GPU 32")
    parser.add_argument("--decode-threads", type=int, help="default: 2, with a GPU one a core")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    on_gpu = arguments.device != "cpu"
    arguments.batch_size = arguments.batch_size or (32 if on_gpu else 8)
    arguments.decode_threads = arguments.decode_threads or (os.cpu_count() if on_gpu else 2)
    return arguments


class Bench:
    """The four measurements; each gives rows."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.device, self.repeats = arguments.device, arguments.repeats
        self.mert = f"mert-v1-{arguments.size}"
        self.depths = {"95m": (12, 6), "330m": (24, 12)}[arguments.size]  # last layers
        self.checkpoint = random_mert.write_mert_checkpoint(folder / "mert", arguments.size)
        self.files = audio_files(arguments.audio, folder, arguments.tracks)
        self.options = {key: vars(arguments)[key] for key in ("batch_size", "decode_threads")}

    def decode(self) -> Iterator[Row]:
        """CPU seconds a second of audio of reading a file."""
        path = self.files[0]
        for rate in (24_000, 16_000):
            waveform = audio.read(path, rate)
            _, cost = median_cost(lambda rate=rate: audio.read(path, rate), self.repeats)
            what = f"decode {path.suffix[1:]} to {rate // 1000} kHz mono"
            yield what, cost / (len(waveform) / rate), "CPU s per s of audio"

    def encoders(self) -> Iterator[Row]:
        """Seconds a second of audio of each encoder, precision and last layer."""
        on_cpu = self.device == "cpu"
        chosen = [("musicnn", "float32", "all")]
        for precision in ("float32", "bfloat16"):
            chosen += [(self.mert, precision, last) for last in self.depths]
        for name, precision, last in chosen:
            if name.split("-")[0] not in self.arguments.encoders:
                continue
            settings = {"precision": precision} if name == self.mert else {}
            encoder = self.load(name, layers=(last,), **settings)
            samples = round(encoder.segment_seconds * encoder.sample_rate)
            shape = (1 if on_cpu else self.arguments.batch_size, samples)
            batch = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
            wall, cpu = median_cost(lambda e=encoder, b=batch: e(b), self.repeats)
            cost = (cpu if on_cpu else wall) / (batch.size / encoder.sample_rate)
            what = f"{name}, {precision}" + (f", up to layer {last}" if settings else "")
            yield what, cost, f"{'CPU' if on_cpu else 'GPU'} s per s of audio"

    def throughput(self) -> Iterator[Row]:
        """Extraction against the bare forward pass over the same segments, in wall time."""
        dataset, last = as_dataset(self.files), self.depths[1]
        mert = {"layers": (last,), "precision": "bfloat16"}
        for name, settings in (("musicnn", {}), (self.mert, mert)):
            if name.split("-")[0] not in self.arguments.encoders:
                continue
            encoder = self.load(name, **settings)
            batches, seconds = all_batches(self.files, encoder, self.arguments.batch_size)
            encoder(batches[0])  # warm
            turns = []
            for turn in range(self.repeats):
                store = self.folder / f"throughput-{name}-{turn}"
                bare = timed(lambda b=batches, e=encoder: [e(batch) for batch in b])
                whole = timed(
                    lambda e=encoder, s=store: sound.extract(dataset, e, s, **self.options)
                )
                turns.append((*bare, *whole))
            bare, bare_cpu, whole, whole_cpu = np.array(turns).T  # (turns,) each
            kind = f"{name}, bfloat16, up to layer {last}" if settings else f"{name}, float32"
            yield f"{kind}: bare forward pass", seconds / np.median(bare), "s of audio per s"
            yield f"{kind}: extraction", seconds / np.median(whole), "s of audio per s"
            yield f"{kind}: extraction / bare, speed", 100 * np.median(bare / whole), "%"
            if self.device == "cpu":
                share = 100 * np.median(bare_cpu / whole_cpu)
                yield f"{kind}: bare / extraction, CPU time", share, "%"
            else:
                store = self.folder / f"throughput-{name}-two"
                with ThreadPoolExecutor(2) as pool:  # as docs/extraction.md advises for one GPU
                    two = self.options | {"executor": pool, "tracks_per_shard": 32}
                    took, _ = timed(
                        lambda e=encoder, s=store, o=two: sound.extract(dataset, e, s, **o)
                    )
                yield (
                    f"{kind}: extraction, two shards of 32 at a time",
                    seconds / took,
                    "s of audio per s",
                )
                yield self.decode_limit(encoder)

    def decode_limit(self, encoder: Encoder) -> Row:
        """How fast all decoding threads together can go: the limit of a fast GPU."""
        threads, rate = self.arguments.decode_threads, encoder.sample_rate
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            lengths = pool.map(lambda file: len(audio.read(file, rate)), self.files * 4)
        speed = sum(lengths) / rate / (time.perf_counter() - start)
        return f"{encoder.name}: decoding alone, {threads} threads", speed, "s of audio per s"

    def memory(self) -> Iterator[Row]:
        """Peak resident memory of a process that extracts few and four times as many tracks."""
        context = multiprocessing.get_context("spawn")
        if not Path("/proc/self/status").is_file():
            print("memory: measured on Linux only")
            return
        for name, count in (("musicnn", 8), ("musicnn", 32), (self.mert, 2)):
            checkpoint = self.checkpoint if name == self.mert else None
            files = links(self.files, self.folder / f"{name}{count}", count)
            with context.Pool(1) as pool:
                store = self.folder / f"memory-{name}-{count}"
                call = (name, checkpoint, self.device, files, store, self.options)
                peak = pool.apply(peak_memory, call)
            minutes = sum(soundfile.info(file).duration for file in files) / 60
            what = f"{name}: peak memory, {count} tracks ({minutes:.0f} min)"
            yield what, peak / 2**30, "GiB"

    def load(self, name: str, **settings: object) -> Encoder:
        """One of the two encoders."""
        checkpoint = self.checkpoint if name == self.mert else None
        return load_encoder(name, checkpoint, device=self.device, **settings)


def peak_memory(
    name: str, checkpoint: str | None, device: str, files: list[Path], store: Path, options: dict
) -> int:
    """Bytes of resident memory at most, in a process of its own."""
    layers = None if checkpoint is None else (1,)  # the convolutions take the most memory
    torch.set_num_threads(1)
    encoder = load_encoder(name, checkpoint, layers=layers, device=device)
    sound.extract(as_dataset(files), encoder, store, **options)
    # Linux; the portable ru_maxrss would begin with the memory of the parent process.
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) * 1024


def audio_files(given: Path | None, folder: Path, count: int) -> list[Path]:
    """The first mp3s of a folder, or half a minute of noise each."""
    if given is not None:
        files = sorted(given.rglob("*.mp3"))[:count]
        if not files:
            raise SystemExit(f"{given}: no mp3s in this folder")
        return files
    generator = np.random.default_rng(0)
    files = [folder / f"{number}.mp3" for number in range(count)]
    for file in files:
        waveform = np.cumsum(generator.normal(size=(30 * 44_100, 2)), axis=0)
        waveform -= np.linspace(waveform[0], waveform[-1], len(waveform))
        soundfile.write(file, 0.5 * waveform / np.abs(waveform).max(), 44_100)
    return files


def links(files: list[Path], folder: Path, count: int) -> list[Path]:
    """So many files: the same again and again, under new names."""
    folder.mkdir()
    made = [folder / f"{number}{files[number % len(files)].suffix}" for number in range(count)]
    for number, link in enumerate(made):
        link.symlink_to(files[number % len(files)].resolve())
    return made


def as_dataset(files: list[Path]) -> Dataset:
    """A dataset of these files without labels."""
    columns = {"audio": [str(file) for file in files], "labels": [()] * len(files), "split": None}
    index = pd.Index([str(number) for number in range(len(files))], name="track")
    return Dataset("benchmark", ("none",), pd.DataFrame(columns | {"group": "g"}, index=index))


def all_batches(
    files: list[Path], encoder: Encoder, batch_size: int
) -> tuple[list[np.ndarray], float]:
    """The files' segments, decoded beforehand, in batches; and the seconds they last."""
    rate = encoder.sample_rate
    cut = [audio.segments(audio.read(f, rate), rate, encoder.segment_seconds) for f in files]
    batches = [part[i : i + batch_size] for part in cut for i in range(0, len(part), batch_size)]
    return batches, sum(part.size for part in cut) / rate


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def median_cost(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and CPU seconds of a call after one to warm up."""
    work()
    return tuple(np.median([timed(work) for _ in range(repeats)], axis=0))


def machine(device: str) -> str:
    """The machine in words."""
    words = f"{os.cpu_count()} cores of {processor()}, PyTorch {torch.__version__}"
    words += f" ({torch.backends.cpu.get_cpu_capability()})"
    if device != "cpu":
        words += f", GPU {torch.cuda.get_device_name(device)}"
    return words


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
