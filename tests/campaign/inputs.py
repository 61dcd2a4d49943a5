"""Inputs that are damaged or hostile: each is read rightly, or refused by name."""

import io
import json
import math
import pickle
import re
import shutil
import unicodedata
import warnings
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import soundfile
import torch

from mer_utils import data, storage
from mer_utils.batch import book, cli, notebooks, pages, runs, sweeps
from mer_utils.data.types import Labelled
from mer_utils.evaluation.tables import markdown
from mer_utils.labels.language_model import _remembered, embed_texts
from mer_utils.predict import load_released, predict_song
from mer_utils.predict.model_card import card
from mer_utils.sound import audio as audio_files
from mer_utils.sound import load_encoder, load_features
from mer_utils.sound.audio import AudioError
from tests.campaign import material, work
from tests.campaign.engine import Fell, Random, kind

PROMISE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")  # how long they are
WORDS = ("\x1b[31mred\x1b[0m", "a\x00b", "a\nb", "..", "../../etc/passwd", "$(touch hacked)", "a|b")
WORDS += ("<script>hacked()</script>", "<img src=x onerror=hacked()>", "`touch hacked`", "x" * 300)
WORDS += ("\u202eevil\u202c", "\udcff", "start", "rank", "label", "score", "-rf", "CON", "", " ")
WORDS += ("](javascript:hacked())", "```\n<script>hacked()</script>", "{{7*7}}", "=1+1", "\r\x08")
WORDS += ("{%raw%}", "&lt;script&gt;hacked()", "$x^2$", "a\u2028b", "\x9b31m", "𝕊", "ﬀ", "%s%n")
REFUSED = (ValueError, OSError)


def chosen(random: Random, things) -> object:
    """One of some things."""
    return list(things)[int(random.integers(len(list(things))))]


def mutated(random: Random, content: bytes) -> bytes:
    """Bytes with a few small changes: flips, cuts, repeats, a number in the head."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        within = len(changed) if random.random() < 0.5 else min(128, len(changed))
        place, length = int(random.integers(max(1, within))), int(random.integers(1, 9))
        match int(random.integers(6)):
            case 0:
                changed[place : place + 1] = random.bytes(1)
            case 1:
                changed[place : place + length] = random.bytes(length)
            case 2:
                extremes = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff")
                changed[place : place + 4] = chosen(random, extremes)
            case 3:
                del changed[place:]
            case 4:
                del changed[place : place + length]
            case 5:
                part = changed[place : place + length]
                changed[place:place] = part * int(random.integers(1, 50))
    return bytes(changed)


def reworded(random: Random, text: str) -> str:
    """A text with one of its fields or lines replaced by a hostile word, repeated or left out."""
    parts = re.split(r"([,;\t\n])", text)
    place = int(random.integers(len(parts)))
    word = chosen(random, (*WORDS, "1e999", "-1", "nan", "0x10", '"', "'", "9" * 400))
    parts[place] = chosen(random, (word, "", parts[place] * 3, parts[place] + "\n"))
    return "".join(parts)


# --- Audio


@kind(material.songs)
def audio(random: Random, folder: Path) -> None:
    """Damaged songs of every format: a waveform or an AudioError."""
    name = chosen(random, material.songs())
    original = material.songs()[name]
    path, content = folder / original.name, original.read_bytes()
    cut = random.random() < 0.2
    if cut:
        path.write_bytes(content[: int(len(content) * random.uniform(0.02, 0.9))])
    elif random.random() < 0.02:
        _strange_song(random, path)
    else:
        path.write_bytes(mutated(random, content))
    try:
        waveform = audio_files.read(path, 16_000)
    except AudioError as error:
        if str(path) not in str(error):
            raise Fell(f"the error does not name the file: {error}") from error
        return
    if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise Fell(f"{name}: no waveform")
    if cut and name in PROMISE and len(waveform) < 2.9 * 16_000:
        raise Fell(f"{name} cut short reads as shorter: {len(waveform) / 16_000:.1f} of 3 s")


def _strange_song(random: Random, path: Path) -> None:
    """Small files that are large: hours of silence, a rate of 1 Hz, a thousand channels."""
    match int(random.integers(3)):
        case 0:
            with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
                for _ in range(3 * 60):
                    file.write(np.zeros(60 * 8000, dtype=np.int16))
        case 1:
            rate = chosen(random, (1, 7, 999, 10**6, 2**31 - 1))
            soundfile.write(path, np.zeros(10**5, dtype=np.int16), rate, format="WAV")
        case 2:
            soundfile.write(path, np.zeros((400, 1024), dtype=np.int16), 100, format="WAV")


# --- Tables


def _datasets() -> dict[str, Callable]:
    """Each loader by the name of its tiny sample in tests/samples/."""
    import test_datasets

    return test_datasets.LOADERS


@kind(lambda: (_datasets(), work.clips()))
def tables(random: Random, folder: Path) -> None:
    """Damaged CSVs and files of the official datasets: a Dataset or an error that says why."""
    warnings.simplefilter("ignore")
    if random.random() < 0.4:
        source = work.clips()
        path = folder / source.name
        path.write_bytes(source.read_bytes())
        for number in range(6):
            (folder / f"{number}.wav").symlink_to(source.with_name(f"{number}.wav"))
        load = data.load_folder
    else:
        name = chosen(random, _datasets())
        shutil.copytree(Path(__file__).parents[1] / "samples" / name, folder / name)
        files = [x for x in (folder / name).rglob("*") if x.is_file() and x.stat().st_size]
        path, load = chosen(random, sorted(files)), lambda _: _datasets()[name](folder / name)
        if "audio" not in name:
            load = lambda _: _datasets()[name](folder / name, audio="skip")  # noqa: E731
    if random.random() < 0.5:
        path.write_bytes(mutated(random, path.read_bytes()))
    else:
        encoding = "utf-16" if path.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        text = reworded(random, path.read_bytes().decode(encoding))
        path.write_bytes(text.encode(encoding, "replace"))
    with suppress(*REFUSED):
        if not isinstance(load(path), data.Dataset):
            raise Fell("no dataset")


# --- Checkpoints


class Code:
    """What would run when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("hacked"),))


def _other(random: Random, tensor: torch.Tensor) -> object:
    """Something else in place of a tensor."""
    with torch.no_grad():
        return chosen(
            random,
            (
                tensor * float("nan"), tensor * 0, tensor * 1e30, tensor.flatten()[:3], -tensor,
                tensor.reshape(-1), tensor[..., None], tensor.double(), tensor.int(), tensor.bool(),
                torch.zeros(0), torch.tensor(1.0), tensor.flatten() + float("inf"),
                tensor.to_sparse(), [1, 2], None, "x", tensor.to("meta"), Code(),
                torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
            ),
        )  # fmt: skip


def _with_another(random: Random, path: Path) -> None:
    """Replace, drop or add one tensor of a file."""
    stored = path.suffix == ".safetensors"
    tensors = storage.read_tensors(path) if stored else torch.load(path, weights_only=True)
    name = chosen(random, sorted(tensors))
    new = _other(random, tensors[name])
    if random.random() < 0.2:
        del tensors[name]
    elif stored and (not isinstance(new, torch.Tensor) or new.layout != torch.strided):
        tensors[name] = tensors[name] * float("nan")
    else:
        tensors[name] = new
    if stored:
        with suppress(RuntimeError, NotImplementedError, KeyError):  # meta and quantised
            storage.write_tensors(path, tensors)
    else:
        torch.save(tensors, path)


def _damage(random: Random, path: Path) -> None:
    """Damage a file in a way that suits it."""
    if path.suffix == ".json" and random.random() < 0.8:
        edited = chosen(random, hostile.edits(json.loads(path.read_text("utf-8"))))
        print(path.name, edited[0])
        path.write_text(json.dumps(edited[1]), encoding="utf-8")
    elif path.suffix in (".safetensors", ".bin") and random.random() < 0.7:
        _with_another(random, path)
    elif path.suffix == ".npy" and random.random() < 0.5:
        array = np.load(path)
        others = (
            array * np.nan,
            array[:, :3],
            array.astype(np.float64),
            array[0],
            array.astype(str),
        )
        np.save(path, chosen(random, (*others, np.array([Code()], dtype=object))))
    elif path.suffix == ".parquet" and random.random() < 0.5:
        table = pd.read_parquet(path)
        column = chosen(random, table)
        changes = (table.drop(columns=column), table[:0], table[:3], table.assign(**{column: None}))
        chosen(random, (*changes, table.assign(**{column: np.nan}))).to_parquet(path)
    elif random.random() < 0.1:
        path.write_bytes(pickle.dumps(Code()))
    else:
        path.write_bytes(mutated(random, path.read_bytes()))


def _model(random: Random, folder: Path) -> None:
    """A released model, damaged and then sealed again, as a forger would."""
    home = shutil.copytree(material.model(), folder / "model")
    _damage(random, chosen(random, sorted(home.iterdir())))
    if random.random() < 0.8:
        with suppress(Exception):
            config = json.loads((home / "config.json").read_text("utf-8"))
            config["weights_sha256"] = storage.file_hash(home / "projector.safetensors")
            config["beside_sha256"] = {
                name: storage.file_hash(home / name) for name in config["beside_sha256"]
            }
            (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model, reference = load_released(home)
    found = predict_song(model, reference, material.listened(), ["gloomy", "cheerful"])
    card(model, None, "x")
    finite(found.table["rank"], 0, 100)
    finite(found.table["score"], -1e6, 1e6)
    finite(found.over_time, 0, 100)


def _mert(random: Random, folder: Path) -> None:
    """A MERT checkpoint."""
    home = shutil.copytree(
        material.checkpoints()[chosen(random, ("bin", "safetensors"))], folder / "m"
    )
    _damage(random, chosen(random, sorted(home.iterdir())))
    encoder = load_encoder("mert-v1-95m", home, layers=(1, 2))
    finite(encoder(np.zeros((1, 24_000), dtype=np.float32) + 0.1), -1e30, 1e30)


def _vectors(random: Random, folder: Path) -> None:
    """Kept label vectors: made anew, or refused."""
    texts = [("music that is odd",), ("music that is even",)]
    expected = embed_texts(texts, "all-MiniLM-L6-v2", "name")
    _damage(random, chosen(random, sorted((folder / "cache").rglob("*.npy"))))
    _remembered.cache_clear()
    if not np.allclose(embed_texts(texts, "all-MiniLM-L6-v2", "name"), expected, atol=0.02):
        raise Fell("other vectors than before")


def _store(random: Random, folder: Path) -> None:
    """A complete feature store."""
    work.extraction(folder)
    _damage(random, chosen(random, sorted((folder / "store").glob("[!.]*"))))
    features = load_features(folder / "store")
    dataset = data.load_folder(work.clips())
    finite(Labelled(dataset, replace(features, values=np.array(features.values))).features.values)


def finite(values: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Fell unless all numbers are finite and between two others."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all() or (array < low).any() or (array > high).any():
        raise Fell(f"numbers that are none, or too large: {array.ravel()[:4]}")


def _prepare() -> None:
    material.model(), material.checkpoints(), work.clips()


@kind(_prepare, share=2)
def checkpoints(random: Random, folder: Path) -> None:
    """Damaged models, MERT weights, label vectors, features; pickles with code."""
    task = (_model, _model, _mert, _vectors, _store)[int(random.integers(5))]
    try:
        with material.project(folder):
            task(random, folder)
    except REFUSED as error:
        print(f"refused: {error}")
    if [*folder.rglob("hacked"), *Path().glob("hacked")]:
        raise Fell("code of a file was run")


# --- Grids and parameters


def _yaml(random: Random, depth: int = 0) -> str:
    """A piece of YAML."""
    leaves = ("1", "-1", "1e999", ".nan", "x", "~", "[]", "{}", "!!binary aGk=", "2001-01-01", "*a")
    leaves += ("!!python/object/apply:os.system [touch hacked]", "!!python/name:os.system ''")
    leaves += ("9" * 5000, "!!set {a}", "'\\0'", "&a [*a]", "!!omap [a: 1]", "1_0:30", "<<: *a")
    if depth > 3 or random.random() < 0.5:
        return chosen(random, leaves)
    inside = [_yaml(random, depth + 1) for _ in range(int(random.integers(1, 5)))]
    return chosen(random, ("[{}]", "&a [{}]", "{{a: [{}]}}", "{{? [{}] : b}}")).format(
        ", ".join(inside)
    )


def _bomb(random: Random) -> str:
    """YAML that grows or goes deep."""
    match int(random.integers(4)):
        case 0:
            lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
            lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
            return "\n".join([*lines, "grid: {weight: *a8}"])
        case 1:
            return "grid: " + "[" * 3000 + "]" * 3000
        case 2:
            return "grid: " + "{a: " * 2000 + "1" + "}" * 2000
        case _:
            values = ", ".join(str(x / 10) for x in range(100))
            names = ("weight", "margin", "learning_rate", "epochs", "seed")
            return "grid: {" + ", ".join(f"{name}: [{values}]" for name in names) + "}"


@kind(lambda: None)
def grids(random: Random, folder: Path) -> None:
    """Hostile grids of sweeps and values of -p: cells and values, or an error."""
    allowed = (*REFUSED, ArgumentTypeError)
    text = _bomb(random) if random.random() < 0.1 else _yaml(random)
    with suppress(*allowed):
        if random.random() < 0.5:
            name, value = cli.parameter(f"{chosen(random, ('weight', 'seed', 'weights'))}={text}")
            notebooks.check_parameters([notebooks.notebook_path("07")], {name: value})
            json.dumps(value, allow_nan=False)
        else:
            path = folder / "grid.yml"
            known = chosen(random, ("weight", "seed", "target", "approach", "profile", "out"))
            path.write_text(
                text if "grid:" in text else f"profile: smoke\ngrid: {{{known}: {text}}}"
            )
            cells = sweeps.plan(path, folder)
            json.dumps([cell.parameters for cell in cells], allow_nan=False)
    if [*folder.rglob("hacked"), *Path().glob("hacked")]:
        raise Fell("code of a grid was run")


# --- Words and pages


class Live(HTMLParser):
    """Raises Fell at a tag or attribute that would run what is hacked()."""

    script = False

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.script = tag == "script"
        names = [f"{name}={value}" for name, value in attributes if "hacked" in str(value)]
        if bad := [x for x in names if x.startswith("on") or "=javascript:" in x]:
            raise Fell(f"a live attribute: {tag} {bad}")

    def handle_data(self, text: str) -> None:
        if self.script and "hacked" in text:
            raise Fell("a live script")
        self.script = False


def inert(html: str) -> None:
    """Fell if a page would run what a hostile word brought."""
    Live().feed(html)


def printable(text: str) -> None:
    """Fell if a text has control characters that a terminal would obey."""
    bad = {x for x in text if unicodedata.category(x) in ("Cc", "Cs") and x not in "\n\t"}
    if bad := bad | ({*text} & {*"\u202a\u202b\u202d\u202e\u2066\u2067\u2068"}):
        raise Fell(f"printed raw: {sorted(bad)}")


def _told(*arguments: str) -> int:
    """The command line, what it prints being checked."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = end.code
    print(ascii(out.getvalue()))
    printable(out.getvalue())
    return status


def _predicted(random: Random, word: str, folder: Path) -> None:
    """A word as a label, a definition, a song's name, for `predict`."""
    song = folder / "song.wav"
    with suppress(*REFUSED):
        song = folder / f"{word.replace('/', '_')[:200]}.wav"
        shutil.copy(material.ROOT / "5.wav", song)
    if not song.is_file():
        song = shutil.copy(material.ROOT / "5.wav", folder / "song.wav")
    given = [
        "--csv",
        str(folder / "ranks.csv"),
        *(["--over-time"] if random.random() < 0.3 else []),
    ]
    _told("predict", str(song), f"--labels={word},gloomy", f"--define={word}={word}", *given)


def _own(random: Random, word: str, folder: Path) -> None:
    """A word as a label, group and path in a CSV, and as its name; then the model card."""
    path = folder / "mine.csv"
    with suppress(*REFUSED):
        path = folder / f"{word.replace('/', '_')[:200]}.csv"
        path.touch()
    path = path if path.is_file() else folder / "mine.csv"
    rows = pd.DataFrame({"path": [f"{x}.wav" for x in range(6)], "labels": ["sad", word] * 3})
    rows = rows.assign(group=[f"{word}{x}" for x in range(6)])
    rows.to_csv(path, index=False, errors="surrogateescape")
    for number in range(6):
        (folder / f"{number}.wav").symlink_to(material.ROOT / f"{number}.wav")
    dataset = data.load_folder(path)
    model, _ = load_released(material.model())
    labels = {**model.about["labels"], dataset.name: list(dataset.labels)}
    sources = {**model.about["sources"], dataset.name: dataset.source}
    tracks = {**model.about["tracks"], dataset.name: len(dataset)}
    about = model.about | {"labels": labels, "sources": sources, "tracks": tracks}
    inert(pages.to_html(card(replace(model, about=about), None, "x")))


def _shown(random: Random, word: str, folder: Path) -> None:
    """A word in the tables and the record of a run, and in the book of it."""
    run = work.tiny_run(folder)
    runs.save_table(run, "results", pd.DataFrame({word or "x": [word], "b": ["c"]}))
    runs.note(run, csv=word)
    page = book.build_book(run, folder / "site")
    for path in page.parent.rglob("*.html"):
        inert(path.read_text("utf-8"))


@cache
def _known() -> None:
    """Vectors of the packaged model's words in the cache: they take seconds."""
    material.model(), work.clips()
    kept, song = storage.CACHE / "label_vectors", str(material.ROOT / "5.wav")
    if kept.is_dir():
        shutil.copytree(kept, material.ROOT / "cache" / "label_vectors", dirs_exist_ok=True)
    with material.project(material.ROOT):
        material.aside(lambda: cli.main(["predict", song, "--labels=odd", "--define=odd=odd"]))


@kind(_known)
def names(random: Random, folder: Path) -> None:
    """Hostile labels, definitions, datasets, files: refused or shown as text."""
    word = "".join(chosen(random, WORDS) for _ in range(int(random.integers(1, 3))))
    print(ascii(word))
    shares = np.array([0.45, 0.5, 0.05])
    task = (_predicted, _own, _shown)[int(random.choice(3, p=shares))]
    with suppress(*REFUSED), material.project(folder, material.ROOT / "cache"):
        task(random, word, folder)
    if [*folder.rglob("hacked"), *Path().glob("hacked")]:
        raise Fell("a word was run")


def _formula(random: Random) -> str:
    parts = (
        "\\frac{",
        "}",
        "{",
        "\\left(",
        "\\right",
        "^",
        "_",
        "&",
        "\\\\",
        "x",
        "\\begin{matrix}",
    )
    parts += ("\\end{matrix}", "\\sqrt[", "]", "$", "\\mathrm{", "<b>", "\\hline", "\\", "\\text{")
    return "".join(chosen(random, parts) for _ in range(int(random.integers(1, 300))))


@kind(lambda: None)
def html(random: Random, folder: Path) -> None:
    """Bad formulas, nested Markdown, hostile cells: pages, with nothing live from a cell."""
    match int(random.integers(4)):
        case 0:
            formula = _formula(random) * int(random.choice([1, 1, 1, 200]))
            inert(pages.mathml(formula))
            pages.to_html(f"${formula}$ and\n\n$${formula}$$")
        case 1:
            mark = chosen(
                random, ("> ", "* ", "[", "![", "**", "`", "<div>", "(", "$", "|", "    ")
            )
            pages.to_html(mark * int(random.integers(1, 3000)) + "x")
        case 2:
            word = chosen(random, WORDS).replace("\udcff", "")
            inert(pages.page("t", pd.DataFrame({word: [word]}, index=[word])))
        case 3:
            word = chosen(random, WORDS).replace("\udcff", "")
            index = pd.Index([word, "b"], name=f"{word} ")
            table = pd.DataFrame({word: [word, "a"]}, index=index)
            inert(pages.to_html(markdown(table)))
            if (
                len({line.count("|") - line.count("\\|") for line in markdown(table).split("\n")})
                > 1
            ):
                raise Fell("a cell that is no cell")
