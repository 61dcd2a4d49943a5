"""What it costs to turn audio into features, and how much of it is not the encoder itself.

    python benchmarks/extraction.py                      a minute or two on two cores
    python benchmarks/extraction.py --audio FOLDER       with your own mp3s instead of noise
    python benchmarks/extraction.py --json table.json --markdown table.md

MERT is timed at full size with random weights, which cost the same time as the published ones.
Costs on a CPU are CPU seconds of all threads, and PyTorch has one thread unless told otherwise
(idle ones would spin and count), so they hold on a busy machine too. Extraction is compared with
the bare forward pass over the same segments, taking turns.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from mer_utils import sound, storage
from mer_utils.data import Dataset
from mer_utils.sound import Encoder, audio, load_encoder, random_mert

PARTS = ("decode", "encoders", "throughput", "memory")


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        for part in arguments.parts:
            for row in getattr(bench, part)():
                rows.append({"part": part} | row)
                print(f"{row['what']}: {row['value']:.4g} {row['unit']}", flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{machine(arguments.device)}\n\n{markdown(table)}")
    if arguments.json:
        storage.write_json(arguments.json, {"machine": machine(arguments.device), "rows": rows})
    if arguments.markdown:
        storage.write_text(arguments.markdown, f"{machine(arguments.device)}\n\n{markdown(table)}")


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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    on_gpu = arguments.device != "cpu"
    arguments.batch_size = arguments.batch_size or (32 if on_gpu else 8)
    arguments.decode_threads = arguments.decode_threads or (os.cpu_count() if on_gpu else 2)
    return arguments


class Bench:
    """The four measurements; each gives rows of what, value and unit."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.device, self.repeats = arguments.device, arguments.repeats
        self.mert = f"mert-v1-{arguments.size}"
        self.checkpoint = random_mert.write_mert_checkpoint(folder / "mert", arguments.size)
        self.files = audio_files(arguments.audio, folder, arguments.tracks)
        self.options = {
            "batch_size": arguments.batch_size,
            "decode_threads": arguments.decode_threads,
        }

    def decode(self) -> Iterator[dict]:
        """CPU seconds a second of audio of reading a file."""
        path = self.files[0]
        for rate in (24_000, 16_000):
            waveform = audio.read(path, rate)
            cost = median_cost(lambda rate=rate: audio.read(path, rate), self.repeats)
            yield {
                "what": f"decode {path.suffix[1:]} to {rate // 1000} kHz mono",
                "value": cost / (len(waveform) / rate),
                "unit": "CPU s per s of audio",
            }

    def encoders(self) -> Iterator[dict]:
        """Seconds a second of audio of each encoder, precision and last layer."""
        on_cpu = self.device == "cpu"
        depths = {"95m": (12, 6), "330m": (24, 12)}[self.arguments.size]
        chosen = [("musicnn", {"layers": ("all",)})]
        for precision in ("float32", "bfloat16"):
            for last in depths:
                settings = {"layers": (last,), "precision": precision}
                chosen.append((self.mert, settings))
        for name, settings in chosen:
            encoder = self.load(name, **settings)
            batch = noise(1 if on_cpu else self.arguments.batch_size, encoder)
            clock = time.process_time if on_cpu else time.perf_counter
            cost = median_cost(lambda e=encoder, b=batch: e(b), self.repeats, clock)
            stop = f", up to layer {settings['layers'][0]}" if name == self.mert else ""
            yield {
                "what": f"{name}, {settings.get('precision', 'float32')}{stop}",
                "value": cost / (batch.size / encoder.sample_rate),
                "unit": f"{'CPU' if on_cpu else 'GPU'} s per s of audio",
            }

    def throughput(self) -> Iterator[dict]:
        """Extraction against the bare forward pass over the same segments, in wall time."""
        last = {"95m": 6, "330m": 12}[self.arguments.size]
        dataset = as_dataset(self.files)
        for name, settings in [
            ("musicnn", {}),
            (self.mert, {"layers": (last,), "precision": "bfloat16"}),
        ]:
            encoder = self.load(name, **settings)
            batches, seconds = all_batches(self.files, encoder, self.arguments.batch_size)
            encoder(batches[0])  # warm
            bare, whole, bare_cpu, whole_cpu = [], [], [], []
            for turn in range(self.repeats):
                store = self.folder / f"throughput-{name}-{turn}"
                wall, cpu = timed(lambda b=batches, e=encoder: [e(batch) for batch in b])
                bare.append(wall), bare_cpu.append(cpu)
                wall, cpu = timed(
                    lambda e=encoder, s=store: sound.extract(dataset, e, s, **self.options)
                )
                whole.append(wall), whole_cpu.append(cpu)
            kind = f"{name}, {settings.get('precision', 'float32')}"
            kind += f", up to layer {last}" if settings else ""
            yield {
                "what": f"{kind}: bare forward pass",
                "value": seconds / statistics.median(bare),
                "unit": "s of audio per s",
            }
            yield {
                "what": f"{kind}: extraction",
                "value": seconds / statistics.median(whole),
                "unit": "s of audio per s",
            }
            ratios = [b / w for b, w in zip(bare, whole, strict=True)]
            yield {
                "what": f"{kind}: extraction / bare, speed",
                "value": 100 * statistics.median(ratios),
                "unit": "%",
            }
            if self.device == "cpu":
                ratios = [b / w for b, w in zip(bare_cpu, whole_cpu, strict=True)]
                yield {
                    "what": f"{kind}: bare / extraction, CPU time",
                    "value": 100 * statistics.median(ratios),
                    "unit": "%",
                }
            else:
                yield self.decode_limit(encoder)

    def decode_limit(self, encoder: Encoder) -> dict:
        """How fast all decoding threads together can go: the limit of a fast GPU."""
        threads, rate = self.arguments.decode_threads, encoder.sample_rate
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            lengths = pool.map(lambda file: len(audio.read(file, rate)), self.files * 4)
        seconds = sum(lengths) / rate
        return {
            "what": f"{encoder.name}: decoding alone, {threads} threads",
            "value": seconds / (time.perf_counter() - start),
            "unit": "s of audio per s",
        }

    def memory(self) -> Iterator[dict]:
        """Peak resident memory of a process that extracts few and four times as many tracks."""
        context = multiprocessing.get_context("spawn")
        if not Path("/proc/self/status").is_file():
            print("memory: measured on Linux only")
            return
        for name, few in [("musicnn", 8), (self.mert, 2)]:
            checkpoint = str(self.checkpoint) if name == self.mert else None
            for count in (few, 4 * few) if name == "musicnn" else (few,):
                files = list(islice(cycle_links(self.files, self.folder / f"{name}{count}"), count))
                with context.Pool(1) as pool:
                    store = self.folder / f"memory-{name}-{count}"
                    call = (name, checkpoint, self.device, files, store, self.options)
                    peak = pool.apply(peak_memory, call)
                seconds = sum(soundfile.info(file).duration for file in files)
                yield {
                    "what": f"{name}: peak memory, {count} tracks ({seconds / 60:.0f} min)",
                    "value": peak / 2**30,
                    "unit": "GiB",
                }

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


def cycle_links(files: list[Path], folder: Path) -> Iterator[Path]:
    """The same files again and again, under new names."""
    folder.mkdir()
    number = 0
    while True:
        for file in files:
            link = folder / f"{number}{file.suffix}"
            link.symlink_to(file.resolve())
            yield link
            number += 1


def as_dataset(files: list[Path]) -> Dataset:
    """A dataset of these files without labels."""
    columns = {"audio": [str(file) for file in files], "labels": [()] * len(files), "split": None}
    index = pd.Index([str(number) for number in range(len(files))], name="track")
    return Dataset("benchmark", ("none",), pd.DataFrame(columns | {"group": "g"}, index=index))


def noise(batch: int, encoder: Encoder) -> np.ndarray:
    """A batch of segments: (batch, samples) float32."""
    samples = round(encoder.segment_seconds * encoder.sample_rate)
    return np.random.default_rng(0).uniform(-0.5, 0.5, (batch, samples)).astype(np.float32)


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


def median_cost(
    work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Median seconds of a call after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)


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


def markdown(table: pd.DataFrame) -> str:
    """The table in markdown."""
    lines = ["| what | value | unit |", "|---|---:|---|"]
    lines += [f"| {row.what} | {row.value:.3g} | {row.unit} |" for row in table.itertuples()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
