"""Loaders: tiny samples in the datasets' own layouts, everything that can be wrong, real files."""

import codecs
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mer_utils import data
from mer_utils.data import VOCABULARIES, Dataset, names, track_table
from mer_utils.storage import file_hash

SAMPLES = Path(__file__).with_name("samples")
CAL500_FILE = "CAL500_noAudioFeatures/{}.txt".format
MTG_TRAIN = "data/splits/split-0/autotagging_moodtheme-train.tsv"
METADATA, INFO = "panda_dataset_taffc_metadata.csv", "dataset info.csv"
pytestmark = pytest.mark.filterwarnings("ignore:.*audio files are missing", "ignore:loadtxt")


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def rows_of(dataset: Dataset) -> list[tuple]:
    """A row a track: id, the last two parts of the audio's path, labels, split, group, and more."""
    json.dumps(dataset.source)
    tracks = dataset.tracks.itertuples(name=None)
    return [(id_, x and "/".join(Path(x).parts[-2:]), *more) for id_, x, *more in tracks]


@pytest.fixture
def sample(tmp_path):
    """Called with the name of a dataset: a copy of its tiny sample, in the official layout."""
    return lambda name: shutil.copytree(SAMPLES / name, tmp_path / name)


LOADERS = {
    "mtg_jamendo": data.load_mtg_jamendo,
    "cal500": data.load_cal500,
    "emotify": data.load_emotify,
    "audio_emotion_4q": partial(data.load_audio_emotion_4q, least=1),
    "mirex_mood": data.load_mirex_mood,
}

# ---------------------------------------------------------------------------- what is loaded


def test_mtg_jamendo(sample):
    root = sample("mtg_jamendo")
    with pytest.warns(UserWarning, match=r"2 of 4 .* 46/3346\.mp3 or 46/3346\.low\.mp3"):
        found = data.load_mtg_jamendo(root, audio="skip")
    assert (found.name, found.labels, found.top_k) == ("mtg-jamendo", names("mtg-jamendo"), 2)
    a, b, c = (f"artist_{x}" for x in ("000087", "000517", "000002"))
    assert rows_of(found) == [
        ("track_0000948", "48/948.mp3", ("calm", "sad"), "train", a, "album_000149", 212.7),
        ("track_0000950", "50/950.low.mp3", ("epic",), "train", a, "album_000149", 248.0),
        ("track_0003346", None, ("film",), "validation", b, "album_000521", 195.0),
        ("track_0001999", None, ("fun",), "test", c, "album_000003", 60.0),
    ]
    assert found.source["options"] == {"split_number": 0}
    assert found.source["files"][MTG_TRAIN] == file_hash(root / MTG_TRAIN)
    with pytest.raises(ValueError, match="0 to 4, not 5"):
        data.load_mtg_jamendo(root, 5)


def test_cal500(sample):
    found = data.load_cal500(sample("cal500"))
    assert (found.name, found.labels, found.top_k) == ("cal500", names("cal500"), 4)
    songs = ("air-sexy_boy", "air-run-remix", "abba-sos")
    labels = ("angry / aggressive", "laid-back / mellow"), ("sad",), ()
    given = zip(songs, labels, ("air", "air", "abba"), strict=True)
    assert rows_of(found) == [(x, f"CAL500_32kps/{x}.mp3", own, None, y) for x, own, y in given]
    files = [CAL500_FILE(name) for name in ("songNames", "vocab", "hardAnnotations")]
    assert list(found.source["files"]) == files


def test_emotify(sample):
    """Of the first song's three bests with a vote each, that in the earliest column is taken."""
    root = sample("emotify")
    found = data.load_emotify(root)
    assert (found.name, found.labels, found.top_k) == ("emotify", names("emotify"), 3)
    first, second, third = (f"emotify-{x}" for x in ("001", "200", "301"))
    best = [("amazement", "solemnity", "calmness"), ("power", "tension"), ("joyful activation",)]
    shares = (1 / 3, 2 / 3, 0, 1 / 3, 2 / 3, 0, 0, 0, 1 / 3), (0, 0, 0, 0, 0, 1, 0, 0.5, 0)
    assert rows_of(found) == [
        (first, "classical/1.mp3", best[0], None, first, "classical", 3, shares[0]),
        (second, "rock/100.mp3", best[1], None, second, "rock", 2, shares[1]),
        (third, "pop/1.mp3", best[2], None, third, "pop", 1, (0, 0, 0, 0, 0, 0, 1, 0, 0)),
    ]
    by_share = data.load_emotify(root, rule=2 / 3).tracks["labels"]
    assert by_share.tolist() == [("solemnity", "calmness"), ("power",), ("joyful activation",)]
    for rule in (1.5, "top5"):
        with pytest.raises(ValueError, match=str(rule)):
            data.load_emotify(root, rule)


def test_audio_emotion_4q(sample):
    root = sample("audio_emotion_4q")
    found = data.load_audio_emotion_4q(root, least=1)
    assert (found.name, found.top_k) == ("audio-emotion-4q", 5)
    assert found.labels == ("angry", "cold", "fun", "laid-back / mellow", "sad", "wry")
    moods = [("fun", "laid-back / mellow"), ("angry", "cold", "fun", "sad", "wry"), ("fun", "sad")]
    genres = [("Pop/Rock", "R&B"), ("Jazz",)]
    assert rows_of(found) == [
        ("MT1", "Q1/MT1.mp3", moods[0], None, "Beyoncé", "Q1", genres[0], ()),
        ("MT2", "Q3/MT2.mp3", moods[1], None, "MT2", "Q3", genres[1], ()),
        ("MT3", "Q3/MT3.mp3", moods[2], None, "Beyoncé", "Q3", genres[1], ()),
    ]
    assert found.source["options"] == {"least": 1}
    (root / "Q3/MT2.mp3").unlink()  # the vocabulary is that of all clips
    with pytest.warns(UserWarning, match="1 of 3"):
        often = data.load_audio_emotion_4q(root, least=2, audio="skip")
    assert (often.labels, often.top_k) == (("fun", "sad"), 2)
    assert often.tracks.loc["MT2", "rare_labels"] == ("angry", "cold", "wry")
    with pytest.raises(ValueError, match="4 clips"):
        data.load_audio_emotion_4q(root, least=4)


def test_mirex_mood(sample):
    found = data.load_mirex_mood(sample("mirex_mood"))
    assert (found.name, found.labels, found.top_k) == ("mirex-mood", names("mirex-mood"), 1)
    assert rows_of(found) == [
        ("mirex-001", "Audio/001.mp3", ("aggressive",), None, "Blå", 5),
        ("mirex-002", "Audio/002.mp3", ("whimsical",), None, "X [1]", 4),
        ("mirex-003", "Audio/003.mp3", ("tense / anxious",), None, "mirex-003", 5),
    ]


def test_folder_with_every_column(tmp_path):
    files = [write(tmp_path / name) for name in ("a.wav", "sub/b.wav", "c.wav")]
    rows = ["a.wav,Happy ; calming,train,Nina", 'sub/b.wav,"calming;  deep,  dark",test,', ""]
    text = "\n".join(["path, labels, split, group", *rows, f"{files[2]},,,Nina\n"])
    found = data.load_folder(write(tmp_path / "mine.csv", text))
    assert (found.name, found.labels) == ("mine", ("calming", "deep, dark", "happy"))
    assert [row[2:] for row in rows_of(found)] == [
        (("calming", "happy"), "train", "Nina"),
        (("calming", "deep, dark"), "test", "sub/b.wav"),
        ((), None, "Nina"),
    ]
    assert found.tracks["audio"].tolist() == [*map(str, files)]
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 .*a\.wav.*audio='skip'"):
        data.load_folder(tmp_path / "mine.csv")


def test_describe(sample):
    jamendo = data.load_mtg_jamendo(sample("mtg_jamendo"), audio="skip")
    loaded = [jamendo, data.load_cal500(sample("cal500"))]
    tracks = track_table(["t0", "t1", "t2"], [("a",)] * 3, ["g0", "g0", "g1"])
    table = data.describe([*loaded, Dataset("test", ("a", "b"), tracks)])
    assert list(table.index) == ["mtg-jamendo", "cal500", "test"]
    hours, licence = table.pop("hours"), table.pop("licence")
    np.testing.assert_allclose(hours, [715.7 / 3600, np.nan, np.nan])
    assert licence.tolist()[1:] == ["none stated", "unknown"]
    expected = [[4, 56, 5, 1.25, 0, 3, 2], [3, 18, 3, 1, 1, 2, 3], [3, 2, 1, 1, 0, 2, 0]]
    np.testing.assert_array_equal(table, expected)


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "said"),
    [
        ("mtg_jamendo", MTG_TRAIN, "TRACK_ID", "ID", "TRACK_ID"),
        ("mtg_jamendo", MTG_TRAIN, "mood/theme---epic", "genre---rock", "3: .*---rock"),
        ("mtg_jamendo", MTG_TRAIN, "212.7", "long", "line 2: long"),
        ("mtg_jamendo", MTG_TRAIN, "\t248.0\tmood/theme---epic", "", "line 3: 4"),
        ("cal500", CAL500_FILE("songNames"), "abba-sos", "air-sexy_boy", "air-sexy_boy"),
        ("cal500", CAL500_FILE("songNames"), "abba-sos\n", "", r"\(3, 37\).*\(2, 37\)"),
        ("cal500", CAL500_FILE("vocab"), "\nEmotion-Sad\n", "\nEmotion-Glad\n", "sad"),
        ("cal500", CAL500_FILE("vocab"), "NOT-Emotion-Sad", "Emotion-Sad", "more than once.*sad"),
        ("cal500", CAL500_FILE("hardAnnotations"), "0,1", "0,2", r"2\.0"),
        ("cal500", CAL500_FILE("hardAnnotations"), "0,1", "0,x", "'x'"),
        ("emotify", "data.csv", "200,rock", "401,rock", "line 5: 401"),
        ("emotify", "data.csv", "200,rock", "200,pop", "line 5: pop"),
        ("emotify", "data.csv", "classical,1,", "classical,7,", "line 2: 71"),
        ("audio_emotion_4q", METADATA, "Wry,", "Awry,", f"{METADATA}: .*line 3: Awry"),
        ("mirex_mood", "categories.txt", "Agressive", "Aggressive", "line 1: Aggressive"),
        ("mirex_mood", "clusters.txt", "Cluster 4\n", "", "categories.txt 3, clusters.txt 2"),
        ("mirex_mood", "clusters.txt", "Cluster 4", "Cluster 6", "line 2: Cluster 6"),
        ("mirex_mood", INFO, "002.mp3", "003.mp3", "002.mp3"),
    ],
)
def test_a_bad_file_is_named(sample, name, file, old, new, said):
    root = sample(name)
    encoding = {METADATA: "latin-1", INFO: "utf-16"}.get(file, "utf-8")
    text = (root / file).read_bytes().decode(encoding)
    assert old in text
    (root / file).write_bytes(text.replace(old, new, 1).encode(encoding))
    with pytest.raises(ValueError, match=rf"{root}.*{said}|{name.replace('_', '-')}: .*{said}"):
        LOADERS[name](root, audio="skip")


@pytest.mark.parametrize(
    ("name", "file", "sign", "unused"),
    [
        ("mtg_jamendo", MTG_TRAIN, "\t", ()),
        (
            "emotify",
            "data.csv",
            ",",
            ("mood", "liked", "disliked", "age", "gender", "mother tongue"),
        ),
        ("audio_emotion_4q", METADATA, ",", ("Title",)),
        ("mirex_mood", INFO, ";", ("Title", "Album", "")),
    ],
)
def test_each_column_that_is_missing_is_named_unless_it_is_not_used(
    sample, name, file, sign, unused
):
    path = sample(name) / file
    encoding = {METADATA: "latin-1", INFO: "utf-16"}.get(file, "utf-8")
    head, _, rest = path.read_bytes().decode(encoding).partition("\n")
    columns = [column.strip().strip('"') for column in head.split(sign)]
    assert len(columns) > 2
    for column in {*columns} - {*unused}:
        path.write_bytes(f"{head.replace(column, 'x', 1)}\n{rest}".encode(encoding))
        with pytest.raises(ValueError, match=column):
            LOADERS[name](path.parent if name != "mtg_jamendo" else path.parents[3], audio="skip")


@pytest.mark.parametrize(
    ("name", "file", "audio"),
    [
        ("mtg_jamendo", MTG_TRAIN, "audio/48/948.low.mp3"),
        ("cal500", CAL500_FILE("vocab"), "CAL500_32kps/abba-sos.mp3"),
        ("emotify", "data.csv", "emotifymusic/pop/1.mp3"),
        ("audio_emotion_4q", METADATA, "Q3/MT3.mp3"),
        ("mirex_mood", INFO, "Audio/003.mp3"),
    ],
)
def test_a_missing_file_is_named(sample, name, file, audio):
    root, load = sample(name), LOADERS[name]
    (root / audio).unlink()
    with pytest.raises(FileNotFoundError, match=r"[12] of [34].*audio='skip'"):
        load(root)
    with pytest.warns(UserWarning, match=r"[12] of [34]"):
        assert load(root, audio="skip").tracks["audio"].isna().iloc[-1]
    with pytest.raises(ValueError, match="maybe"):
        load(root, audio="maybe")
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=Path(file).name):
        load(root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": 0}, "top_k .*0"),
        ({"labels": ("a", "a")}, "'a'"),
        ({"labels": ("a", "b\x1b[31m")}, "labels"),
        ({"labels": ("a", "b" * 300)}, "labels"),
        ({"labels": ("b", "c")}, "a of t0"),
        ({"tracks": track_table(["t0"], [("a",)], ["g"]).drop(columns="group")}, "'group'"),
        ({"tracks": track_table(["t0", "t0"], [("a",)] * 2, ["g"] * 2)}, "'t0'"),
    ],
)
def test_datasets_that_would_mislead_are_refused(changes, said):
    tracks = track_table(["t0"], [("a",)], ["g"])
    whole = {"name": "two", "labels": ("a", "b"), "tracks": tracks, "top_k": 2}
    assert Dataset(**whole).targets().tolist() == [[True, False]]
    with pytest.raises(ValueError, match=f"two: .*{said}"):
        Dataset(**whole | changes)


# ------------------------------------------------------------------------- a CSV of one's own


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (codecs.BOM_UTF8 + "path,labels\nCafé.wav,happy;calm\n".encode(), "calm happy"),
        ("path,labels\nCafé.wav,happy;calm\n".encode("latin-1"), "calm happy"),
        ("path,labels\nCafé.wav,happy;calm\n".encode("utf-16"), "calm happy"),
        ("path,labels\r\nCafé.wav,happy;calm\r\n\r\n".encode(), "calm happy"),
        ("path,labels\rCafé.wav,happy;calm\r".encode(), "calm happy"),  # of an old Mac
        ('path, labels\nCafé.wav, "happy; calm"\n'.encode(), "calm happy"),
        ("path,labels\nCafé.wav,R&R\n".encode(), "r&r"),  # a sign that separates nothing
    ],
)
def test_a_csv_of_any_program_is_read(tmp_path, written, labels):
    (tmp_path / "mine.csv").write_bytes(written)
    found = data.load_folder(tmp_path / "mine.csv", audio="skip")
    assert found.tracks["labels"].to_dict() == {"Café.wav": tuple(labels.split())}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,labels\na.wav,sad\n", "'path'.*rename 'file' to 'path'"),
        ("Filename,label\na.wav,sad\n", "rename 'Filename' to 'path', rename 'label' to 'labels'"),
        ("path,Tags\na.wav,sad\n", "rename 'Tags' to 'labels'"),
        ("path,labels,group,artist\na.wav,sad,x,Air\n", "delete 'artist'"),
        ("path,artist\na.wav,Air\n", "rename 'artist' to 'group', add 'labels'"),
        ("a.wav,sad\nb.wav,calm\n", "put a line .* above 'a.wav,sad'"),
        ("path,labels\n", "1 lines"),
        ("path,labels\n,sad\n", "line 2"),
        ("path,labels\na.wav,sad\nb.wav,sad\n./a.wav,fun\n", "'a.wav'"),
        ("path,labels\na.wav,sad,calm\n", "line 2: 3"),
        ('path,labels\na.wav,"sad\n', "line 2 is not readable"),
        ("path,labels,split\na.wav,sad,valid\n", "line 2: valid"),
        ("path,labels,split,group\na.wav,sad,train,A\nb.wav,sad,validation,A\n", "two splits.*'A'"),
        ("path,labels\na.wav,\n", "no track has a label"),
        ("path,labels\na.wav,sad/calm\nb.wav,calm\n", "'/', expected ';'.*'calm', 'sad/calm'"),
        ("path,labels\na.wav,sad + calm\nb.wav,calm+gay\n", r"'\+', expected ';'.*'calm\+gay'"),
        ('path,labels\na.wav,sad;fun\nb.wav,"calm, sad"\n', "',', expected ';'.*'calm, sad'"),
        ("path,labels\na.wav,\"['sad', 'calm']\"\n", "brackets; write happy;calm.*line 2"),
        ("sep=;\npath;labels\na.wav;calm\n", "sep=;"),
        (",".join(map(str, range(3000))) + "\n" + "," * 2999, "3,000 columns"),
    ],
)
def test_a_bad_csv_is_named_with_its_mend(tmp_path, text, said):
    with pytest.raises(ValueError, match=rf"(?s)mine\.csv: .*{said}"):
        data.load_folder(write(tmp_path / "mine.csv", text), audio="skip")


@pytest.mark.parametrize(("sign", "told"), [(";", "';'"), ("\t", r"'\\t'")])
def test_the_command_that_mends_a_csv_mends_it(tmp_path, sign, told):
    """The command in the message, as it stands there, which runs nothing of a file's name."""
    text = 'path;labels\na.wav;"happy,calm"\nNA;sad\n'.replace(";", sign)
    path = write(tmp_path / "$(touch hacked).csv", text)
    with pytest.raises(ValueError, match=f"{told}, expected ',';") as error:
        data.load_folder(path)
    command = re.search(r"python -c .*", str(error.value)).group()
    run = {"shell": True, "cwd": tmp_path, "check": True}
    subprocess.run(command.replace("python", sys.executable, 1), **run)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "mended.csv"}
    mended = data.load_folder(tmp_path / "mended.csv", audio="skip")
    assert mended.tracks["labels"].to_dict() == {"a.wav": ("calm", "happy"), "NA": ("sad",)}


def test_the_lines_that_join_a_column_a_label_do_so(tmp_path, monkeypatch):
    path = write(tmp_path / "mine.csv", "path,happy,sad,group\na.wav,1,0,A\nb.wav,1,1,B\n")
    with pytest.raises(ValueError, match="happy, sad") as error:
        data.load_folder(path, audio="skip")
    monkeypatch.chdir(tmp_path)
    exec(str(error.value).partition("in Python: ")[2], {"pandas": pd})
    mended = data.load_folder(path, audio="skip")
    assert mended.tracks["labels"].tolist() == [("happy",), ("happy", "sad")]


@pytest.mark.parametrize(
    "name", ["..", "con", "-x", "a／b", "a\x1b", "a\u202e", "n" * 200, "emotify", "a\\b"]
)
def test_names_that_no_dataset_can_have(tmp_path, name):
    path = write(tmp_path / f"{name}.csv", "path,labels\na.wav,calm\n")
    with pytest.raises(ValueError, match="called"):
        data.load_folder(path)


def test_what_is_no_text_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    write(tmp_path / "bytes.csv", "path,labels\na.wav,ca\0lm\n")
    write(tmp_path / "huge.csv", "path,labels\na.wav,calm\nb.wav,calm")
    monkeypatch.setattr(data.reading, "MOST_BYTES", 30)
    for name in ("pipe.csv", "folder.csv", "bytes.csv", "huge.csv"):
        with pytest.raises(ValueError, match=name):
            data.load_folder(tmp_path / name)


# ------------------------------------------------------------------------------------- Mulan

EMOTIONS = [label.official for label in VOCABULARIES["emotions"]]
FEATURES = ["Centroid", "Rolloff", "Flux", *(f"MFCC{i}" for i in range(13))]
TIMBRE = list(product(("Mean", "Std"), ("Mean", "Std"), FEATURES))  # in Mulan's order
# ... as either file spells them
MARSYAS = [f"{t}_Acc1298_{w}_Mem40_{f.replace('MFCC', 'MFCC_')}" for t, w, f in TIMBRE]
MARSYAS_CAL500 = [f"{t}_Acc1000_{w}_Mem40_{f}_Power_powerFFT_AudioCh0" for t, w, f in TIMBRE]


def arff(labels: list[str], features: list[str], row: list[object]) -> str:
    lines = [f"@attribute {name} numeric" for name in features]
    lines += [f"@attribute {name} {{0,1}}" for name in labels]
    return "\n".join(["@relation test", *lines, "", "@data", ",".join(map(str, row))]) + "\n"


def test_mulan_columns_are_found_by_meaning_not_by_place(tmp_path):
    """CAL500's columns shuffled, with zero crossings, NOT- twins and other words between."""
    features = [*MARSYAS_CAL500, "Mean_Acc1000_Mean_Mem40_ZeroCrossings_HopSize512"]
    order = np.random.default_rng(0).permutation(len(features)).tolist()
    words = [label.official.replace("_/_", "-") for label in VOCABULARIES["cal500"]]
    words[0] = "Angry-Agressive"
    labels = [x for word in words for x in (f"NOT-{word}", word, f"Vocals-{word}")]
    off = [word for word in words if word not in ("Emotion-Laid-back-Mellow", "Angry-Agressive")]
    row = [*order, *(int(label not in off) for label in labels)]
    path = write(tmp_path / "x.arff", arff(labels, [features[i] for i in order], row))
    dataset, found = data.load_mulan(path)
    assert (dataset.name, dataset.labels, dataset.top_k) == ("cal500", names("cal500"), 4)
    both = ("angry / aggressive", "laid-back / mellow")
    assert rows_of(dataset) == [("cal500-001", None, both, None, "cal500-001")]
    np.testing.assert_array_equal(found.values[0, 0], np.arange(64))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (arff(EMOTIONS[1:], MARSYAS, [1] * 69), "'amazedsuprised'"),
        (arff(EMOTIONS, [*MARSYAS, MARSYAS[0]], [1] * 71), "mean-mean-centroid"),
        (arff(EMOTIONS, MARSYAS, [1] * 71), r"70 .*\(1, 71\)"),
        (arff(EMOTIONS, MARSYAS, ["nan"] + [1] * 69), "finite"),
    ],
)
def test_a_bad_arff_is_named(tmp_path, text, said):
    with pytest.raises(ValueError, match=rf"x\.arff: .*{said}"):
        data.load_mulan(write(tmp_path / "x.arff", text))


# -------------------------------------------------------------------------------- the real files


@pytest.mark.real_data
def test_real_mtg_jamendo(mtg_root):
    dataset = data.load_mtg_jamendo(mtg_root, audio="skip")
    tracks, targets = dataset.tracks, dataset.targets()
    counts = tracks["split"].value_counts().to_dict()
    assert counts == {"train": 9_949, "validation": 3_802, "test": 4_231}
    assert targets[tracks["split"] == "test"].sum(axis=1).mean() == pytest.approx(1.79, abs=0.005)
    assert tracks.groupby("group")["split"].nunique().max() == 1
    assert tracks["duration"].sum() / 3600 == pytest.approx(1095, abs=0.5)


@pytest.mark.real_data
def test_real_emotify(emotify_root):
    dataset = data.load_emotify(emotify_root, audio="skip")
    tracks = dataset.tracks
    assert (dataset.targets().sum(axis=1) == 3).all()
    votes = np.array(tracks["share"].tolist()) * tracks["listeners"].to_numpy()[:, None]
    best_first = -np.sort(-votes.round(), axis=1)  # (tracks, labels)
    assert (best_first[:, 2] == best_first[:, 3]).sum() == 118
    assert tracks["audio"].notna().sum() == len(list(emotify_root.rglob("*.mp3")))
    assert str(emotify_root.parent) not in json.dumps(dataset.source)


@pytest.mark.real_data
def test_real_audio_emotion_4q(audio_emotion_4q_root):
    dataset = data.load_audio_emotion_4q(audio_emotion_4q_root, audio="skip")
    tracks, targets = dataset.tracks, dataset.targets()
    assert targets.shape == (900, 121)
    assert targets.sum(axis=1).mean() == pytest.approx(5.2, abs=0.005)
    assert targets.sum(axis=0).min() >= 20
    assert tracks["quadrant"].value_counts().tolist() == [225] * 4
    assert tracks["audio"].notna().sum() == len(list(audio_emotion_4q_root.rglob("*.mp3")))
    everything = data.load_audio_emotion_4q(audio_emotion_4q_root, least=1, audio="skip")
    assert everything.labels == names("audio-emotion-4q")


@pytest.mark.real_data
def test_real_mirex_mood(mirex_root):
    dataset = data.load_mirex_mood(mirex_root, audio="skip")
    tracks = dataset.tracks
    assert (len(tracks), dataset.targets().sum(axis=0).min()) == (903, 22)
    assert tracks["cluster"].value_counts().sort_index().tolist() == [170, 164, 215, 191, 163]
    assert len(tracks.value_counts(["labels", "cluster"])) == 28  # no word in two clusters
    assert tracks.loc["mirex-782", "group"] == "X [1]"  # the row with a semicolon in its title
    assert tracks["audio"].notna().sum() == len(list(mirex_root.rglob("*.mp3")))


@pytest.mark.real_data
def test_real_mulan(mulan_root):
    cal500, one = data.load_mulan(mulan_root / "CAL500.arff")
    emotions, other = data.load_mulan(mulan_root / "emotions.arff")
    assert (len(cal500), len(emotions)) == (502, 593)
    assert cal500.targets().sum(axis=1).mean() == pytest.approx(3.940, abs=0.001)
    assert emotions.targets().sum(axis=0).tolist() == [173, 166, 264, 148, 168, 189]
    # The same column means the same on the same scale in both files.
    means = [features.values[:, 0].mean(axis=0) for features in (one, other)]
    assert np.corrcoef(np.log(np.abs(means)))[0, 1] > 0.99
