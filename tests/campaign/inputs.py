"""Inputs that are damaged or hostile: each is read rightly, or refused by name."""

import io
import json
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
import test_datasets
import torch
from moods import mood_dataset

from mer_utils import data, storage
from mer_utils.batch import cli, notebooks, pages, sweeps
from mer_utils.evaluation.tables import markdown
from mer_utils.labels.language_model import _remembered, embed_texts
from mer_utils.predict import load_released, predict_song
from mer_utils.predict.model_card import card
from mer_utils.projector.methods import real_values
from mer_utils.sound import audio as audio_files
from mer_utils.sound import load_encoder, load_features
from mer_utils.sound.audio import AudioError
from tests.campaign import material, work
from tests.campaign.engine import Random, kind

PROMISE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")  # how long they are
WORDS = ("\x1b[31mred", "a\x00b", "a\nb", "\r\x08", "\x9b31m", "a\u2028b", "\u202eevil", "\udcff")
WORDS += ("<script>hacked()</script>", "x" * 300, "](javascript:hacked())", "%s%n")
WORDS += ("```\n<script>hacked()</script>", "&lt;script&gt;hacked()", "-rf", "")
WORDS += ("a|b", "<img src=x onerror=hacked()>", "start", "rank", "{{7*7}}", "=1+1", "$x^2$")
WORDS += ("$(touch hacked)", "../../etc/passwd")
REFUSED = (ValueError, OSError)


def chosen(random: Random, things) -> object:
    """One of some things."""
    return list(things)[int(random.integers(len(list(things))))]


def mutated(random: Random, content: bytes) -> bytes:
    """Bytes with a few small changes, half of them in the head."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        within = len(changed) if random.random() < 0.5 else min(128, len(changed))
        place, length = int(random.integers(max(1, within))), int(random.integers(1, 9))
        number = chosen(random, (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff"))
        part = bytes(changed[place : place + length])
        ways = [(length, random.bytes(length)), (4, number), (length, b""), (len(changed), b"")]
        ways += [(0, part * int(random.integers(1, 50)))]
        replaced, new = chosen(random, ways)
        changed[place : place + replaced] = new
    return bytes(changed)


def reworded(random: Random, text: str) -> str:
    """A text with one of its fields or lines replaced by a hostile word, repeated or left out."""
    parts = re.split(r"([,;\t\n])", text)
    place = int(random.integers(len(parts)))
    word = chosen(random, (*WORDS, "1e999", "-1", "nan", "0x10", '"', "'", "9" * 400))
    parts[place] = chosen(random, (word, "", parts[place] * 3, parts[place] + "\n"))
    return "".join(parts)


def no_code_ran(folder: Path) -> None:
    """Expect that nothing made the file that all hostile code would make."""
    assert not [*folder.rglob("hacked"), *Path().glob("hacked")], "code of a file was run"


def finite(values: object, most: float) -> None:
    """Expect numbers, none of them too large."""
    array = np.asarray(values, dtype=np.float64)
    assert (np.abs(array) <= most).all(), f"no numbers, or too large: {array.ravel()[:4]}"


# --- Audio and tables


@kind(material.songs)
def audio(random: Random, folder: Path) -> None:
    """Damaged songs of every format: a waveform or an AudioError."""
    name = chosen(random, material.songs())
    path = Path(shutil.copy(material.songs()[name], folder))
    cut = random.random() < 0.2
    if cut:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * random.uniform(0.02, 0.9))])
    elif random.random() < 0.02:
        _large(random, path)
    else:
        _damage(random, path)
    try:
        waveform = audio_files.read(path, 16_000)
    except AudioError as error:
        if str(path) not in str(error):
            raise AssertionError("the error does not name the file") from error
        return
    assert (waveform.dtype, waveform.ndim) == (np.float32, 1)
    assert np.isfinite(waveform).all()
    if cut and name in PROMISE:
        assert len(waveform) >= 2.9 * 16_000, f"{name} cut short reads as shorter"


def _large(random: Random, path: Path) -> None:
    """A small file of much: hours of silence, a sample a second, a thousand channels."""
    silence = np.zeros(60 * 8000, dtype=np.int16)
    match int(random.integers(3)):
        case 0:
            with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
                for _ in range(3 * 60):
                    file.write(silence)
        case 1:
            soundfile.write(path, silence, chosen(random, (1, 7, 999, 2**31 - 1)), format="WAV")
        case 2:
            soundfile.write(path, silence[: 400 * 1024].reshape(400, 1024), 100, format="WAV")


@cache
def _samples() -> dict[str, tuple[Path, Callable]]:
    """A tiny dataset of each loader, and the loader."""
    (material.ROOT / "csv").mkdir()
    _beside_clips(material.ROOT / "csv", material.clips().read_text(), "mine")
    own = (material.ROOT / "csv", lambda home, audio: data.load_folder(home / "mine.csv"))
    loaders = test_datasets.LOADERS.items()
    return {name: (test_datasets.SAMPLES / name, load) for name, load in loaders} | {"csv": own}


@kind(_samples)
def tables(random: Random, folder: Path) -> None:
    """Damaged CSVs and files of the official datasets: a Dataset or an error that says why."""
    warnings.simplefilter("ignore")
    source, load = chosen(random, _samples().values())
    home = shutil.copytree(source, folder / source.name, symlinks=True)
    _damage(random, home)
    with suppress(*REFUSED):
        dataset = load(home, audio=chosen(random, ("skip", "require")))
        assert isinstance(dataset, data.Dataset)


def _beside_clips(folder: Path, text: str, name: str) -> Path:
    """A CSV of the clips, which are linked beside it."""
    for number in range(6):
        (folder / f"{number}.wav").symlink_to(material.ROOT / f"{number}.wav")
    return named(folder, f"{name}.csv", text.encode(errors="surrogateescape"))


def named(folder: Path, name: str, content: bytes) -> Path:
    """A file of a hostile name, or a plain one where the disk does not allow it."""
    path = folder / f"{name[:-4].replace('/', '_')[:200]}{name[-4:]}"
    try:
        path.write_bytes(content)
    except REFUSED:
        path = folder / f"plain{name[-4:]}"
        path.write_bytes(content)
    return path


# --- Checkpoints


class Code:
    """What would run when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("hacked"),))


def _other_tensor(random: Random, path: Path) -> None:
    """Replace or drop one tensor of a file."""
    stored = path.suffix == ".safetensors"
    tensors = storage.read_tensors(path) if stored else torch.load(path, weights_only=True)
    name = chosen(random, sorted(tensors))
    was = tensors.pop(name).detach()
    others = [was * float("nan"), was * 1e30, was.flatten()[:3], was[..., None], torch.zeros(0)]
    others += [was.double(), was.int(), was.bool(), torch.tensor(1.0), was.to("meta")]
    others += [] if stored else [was.to_sparse(), [1, 2], None, "x", Code()]
    if random.random() < 0.8:
        tensors[name] = chosen(random, others)
    if not stored:
        torch.save(tensors, path)
    elif tensors.get(name, was).device.type != "meta":
        storage.write_tensors(path, tensors)


def _damage(random: Random, place: Path) -> None:
    """Damage a file, or one of a folder that is not empty and no link, in a way that suits it."""
    found = [x for x in place.rglob("[!.]*") if x.is_file() and not x.is_symlink()]
    path = chosen(random, sorted(x for x in found if x.stat().st_size)) if found else place
    content = path.read_bytes()
    suited = path.suffix if random.random() < 0.6 else ""
    if suited == ".json":
        done, value = chosen(random, hostile.edits(json.loads(content)))
        print(path.name, done)
        path.write_text(json.dumps(value), encoding="utf-8")
    elif suited in (".safetensors", ".bin"):
        _other_tensor(random, path)
    elif suited == ".npy":
        array = np.load(path)
        others = [array * np.nan, array[:, :3], array.astype(np.float64), array.astype(str)]
        np.save(path, chosen(random, [*others, array[0], np.array([Code()], dtype=object)]))
    elif suited == ".parquet":
        table = pd.read_parquet(path)
        column = chosen(random, table)
        others = [table.drop(columns=column), table[:0], table.assign(**{column: np.nan})]
        chosen(random, others).to_parquet(path)
    elif suited in (".csv", ".tsv", ".txt", ".arff", ".md"):
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        text = reworded(random, content.decode(encoding))
        path.write_bytes(text.encode(encoding, "replace"))
    elif random.random() < 0.1:
        path.write_bytes(pickle.dumps(Code()))
    else:
        path.write_bytes(mutated(random, content))


def _model(random: Random, folder: Path) -> None:
    """A released model, damaged and then sealed again, as a forger would."""
    home = shutil.copytree(material.model(), folder / "model")
    _damage(random, home)
    sealed = random.random() < 0.8
    with suppress(Exception):
        config = json.loads((home / "config.json").read_text("utf-8"))
        config["weights_sha256"] = storage.file_hash(home / "projector.safetensors")
        beside = config["beside_sha256"]
        config["beside_sha256"] = {name: storage.file_hash(home / name) for name in beside}
        if sealed:
            (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model, reference = load_released(home)
    features = mood_dataset("one", tracks=1).features
    found = predict_song(model, reference, features, ["gloomy", "cheerful"])
    card(model)
    finite([found.table["rank"], *found.over_time.to_numpy().T], 100)
    finite(found.table["score"], 1e6)


def _mert(random: Random, folder: Path) -> None:
    """A MERT checkpoint."""
    home = chosen(random, material.checkpoints().values())
    home = shutil.copytree(home, folder / "m")
    _damage(random, home)
    encoder = load_encoder("mert-v1-95m", home, layers=(1, 2))
    with suppress(FloatingPointError):  # says that the checkpoint may not be sound
        finite(encoder(np.full((1, 24_000), 0.1, dtype=np.float32)), 1e38)


def _vectors(random: Random, folder: Path) -> None:
    """Kept label vectors: made anew, or refused."""
    texts = [("music that is odd",), ("music that is even",)]
    expected = embed_texts(texts, "all-MiniLM-L6-v2", "name")
    _damage(random, folder / "cache")
    _remembered.cache_clear()
    found = embed_texts(texts, "all-MiniLM-L6-v2", "name")
    assert np.allclose(found, expected, atol=0.02), "other vectors than before"


def _store(random: Random, folder: Path) -> None:
    """A complete feature store."""
    work.extraction(folder)
    _damage(random, folder / "store")
    features = load_features(folder / "store")
    part = data.Labelled(data.load_folder(material.clips()), features)
    # the values stay on disk: what trains on them looks at them
    finite(real_values(part, np.ones(len(features), dtype=bool)), 1e30)


@kind(lambda: (material.model(), material.checkpoints(), material.clips()))
def checkpoints(random: Random, folder: Path) -> None:
    """Damaged models, MERT weights, label vectors, features; pickles with code."""
    task = chosen(random, (_model, _model, _mert, _vectors, _store))
    try:
        with material.project(folder):
            task(random, folder)
    except REFUSED as error:
        print(f"refused: {error}")
    no_code_ran(folder)


# --- Grids and parameters

LEAVES = ("1", "-1", "1e999", ".nan", "x", "~", "[]", "{}", "!!binary aGk=", "2001-01-01", "*a")
LEAVES += ("!!python/object/apply:os.system [touch hacked]", "!!python/name:os.system ''")
LEAVES += ("9" * 5000, "!!set {a}", "'\\0'", "&a [*a]", "!!omap [a: 1]", "1_0:30", "<<: *a")
GROWN = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
TENTHS = ", ".join(str(x / 10) for x in range(100))
BOMBS = (
    f"a0: &a0 [x, x, x]\n{GROWN}\ngrid: {{weight: *a8}}",
    "grid: " + "[" * 3000 + "]" * 3000,
    "grid: " + "{a: " * 2000 + "1" + "}" * 2000,
    f"grid: {{weight: [{TENTHS}], margin: [{TENTHS}], epochs: [{TENTHS}], seed: [{TENTHS}]}}",
)


def _yaml(random: Random, depth: int = 0) -> str:
    """A piece of YAML."""
    if depth > 3 or random.random() < 0.5:
        return chosen(random, LEAVES)
    inside = ", ".join(_yaml(random, depth + 1) for _ in range(int(random.integers(1, 5))))
    return chosen(random, ("[{}]", "&a [{}]", "{{a: [{}]}}", "{{? [{}] : b}}")).format(inside)


@kind()
def grids(random: Random, folder: Path) -> None:
    """Hostile grids of sweeps and values of -p: cells and values, or an error."""
    text = chosen(random, BOMBS) if random.random() < 0.1 else _yaml(random)
    name = chosen(random, ("weight", "seed", "target", "approach", "profile", "out", "weights"))
    value = None
    with suppress(*REFUSED, ArgumentTypeError):
        if random.random() < 0.5:
            given = dict([cli.parameter(f"{name}={text}")])
            value = notebooks.check_parameters([notebooks.notebook_path("07")], given)
        else:
            path = folder / "grid.yml"
            whole = text if "grid:" in text else f"profile: smoke\ngrid: {{{name}: {text}}}"
            path.write_text(whole)
            value = [cell.parameters for cell in sweeps.plan(path, folder)]
    json.dumps(value, allow_nan=False)
    no_code_ran(folder)


# --- Words and pages


class Live(HTMLParser):
    """Refuses a tag or attribute that would run what is hacked()."""

    script = False

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.script = tag == "script"
        for name, value in attributes:
            runs_it = name.startswith("on") or str(value).startswith("javascript:")
            assert not (runs_it and "hacked" in str(value)), f"a live attribute: {tag} {name}"

    def handle_data(self, text: str) -> None:
        assert not (self.script and "hacked" in text), "a live script"
        self.script = False


def inert(html: str) -> None:
    """Expect a page that does not run what a hostile word brought."""
    Live().feed(html)


def _told(*arguments: str) -> None:
    """Call the command line; expect no signs in what it prints that a terminal would obey."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), suppress(SystemExit):
        cli.main(arguments)
    print(ascii(out.getvalue()))
    signs = {*out.getvalue()} - {*"\n\t"}
    obeyed = {*"\u202a\u202b\u202d\u202e\u2066\u2067\u2068"}
    assert not {x for x in signs if unicodedata.category(x) in ("Cc", "Cs") or x in obeyed}


def _predicted(random: Random, word: str, folder: Path) -> None:
    """A word as a label, a definition, a song's name, for `predict`."""
    song = named(folder, f"{word}.wav", (material.ROOT / "5.wav").read_bytes())
    given = ["--csv", str(folder / "ranks.csv"), *chosen(random, ([], ["--over-time"]))]
    _told("predict", str(song), f"--labels={word},gloomy", f"--define={word}={word}", *given)


def _own(random: Random, word: str, folder: Path) -> None:
    """A word as a label, group and path in a CSV, and as its name; then the model card."""
    rows = {"path": [f"{x}.wav" for x in range(6)], "labels": ["sad", word] * 3}
    rows = pd.DataFrame(rows).assign(group=[f"{word}{x}" for x in range(6)])
    dataset = data.load_folder(_beside_clips(folder, rows.to_csv(index=False), word))
    model, _ = load_released(material.model())
    own = {"labels": list(dataset.labels), "sources": dataset.source, "tracks": len(dataset)}
    about = {key: {**model.about[key], dataset.name: value} for key, value in own.items()}
    inert(pages.to_html(card(replace(model, about=model.about | about))))


@cache
def _known() -> None:
    """Vectors of the packaged model's words in the cache: they take seconds."""
    material.model(), material.clips()
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
    with suppress(*REFUSED), material.project(folder, material.ROOT / "cache"):
        chosen(random, (_predicted, _own))(random, word, folder)
    no_code_ran(folder)


FORMULA = ("\\frac{", "}", "{", "\\left(", "\\right", "^", "_", "&", "\\\\", "x", "\\begin{matrix}")
FORMULA += ("\\end{matrix}", "\\sqrt[", "]", "$", "\\mathrm{", "<b>", "\\hline", "\\", "\\text{")
MARKS = ("> ", "* ", "[", "![", "**", "`", "<div>", "(", "$", "|", "    ")


@kind()
def html(random: Random, folder: Path) -> None:
    """Bad formulas, nested Markdown, hostile cells: pages, with nothing live from a cell."""
    parts = [chosen(random, FORMULA) for _ in range(int(random.integers(1, 300)))]
    formula = "".join(parts) * int(random.choice([1, 1, 1, 200]))
    nested = chosen(random, MARKS) * int(random.integers(1, 3000))
    word = chosen(random, WORDS).replace("\udcff", "")
    table = pd.DataFrame({word: [word, "a"]}, index=pd.Index([word, "b"], name=f"{word} "))
    match chosen(random, ("formula", "nested", "page", "table")):
        case "formula":
            inert(pages.mathml(formula))
            pages.to_html(f"${formula}$ and\n\n$${formula}$$")
        case "nested":
            pages.to_html(f"{nested}x")
        case "page":
            inert(pages.page("t", table))
        case "table":
            inert(pages.to_html(markdown(table)))
            bars = {x.count("|") - x.count("\\|") for x in markdown(table).split("\n")}
            assert len(bars) == 1, "a cell that is no cell"
