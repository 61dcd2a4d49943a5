"""Loaders: tiny samples in the datasets' own layouts, everything that can be wrong, real files."""

import codecs
import json
import os
import re
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mer_utils import data
from mer_utils.data import VOCABULARIES, Dataset, names
from mer_utils.storage import file_hash

without_audio = pytest.mark.filterwarnings("ignore:.*audio files are missing")


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def labels_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    json.dumps(dataset.source)
    return dataset.tracks["labels"].to_dict()


def audio_of(dataset: Dataset) -> list[str | None]:
    """The last two parts of the audio paths."""
    return [path and "/".join(Path(path).parts[-2:]) for path in dataset.tracks["audio"]]


def grouped(sizes: list[int]) -> Dataset:
    """A dataset with a group of each size, the tracks of a group spread over the table."""
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(0).permutation(len(groups))
    tracks = pd.DataFrame(
        {"audio": None, "labels": [("a",)] * len(groups), "split": None},
        index=pd.Index([f"t{i}" for i in order], name="track"),
    )
    return Dataset("test", ("a", "b"), tracks.assign(group=[groups[i] for i in order]))


# ------------------------------------------------------------------ tiny samples of the datasets

MTG_ROWS = {  # a space stands for a tab
    "train": "track_0000948 artist_000087 album_000149 48/948.mp3 212.7 mood/theme---sad "
    "mood/theme---calm\n"
    "track_0000950 artist_000087 album_000149 50/950.mp3 248.0 mood/theme---epic",
    "validation": "track_0003346 artist_000517 album_000521 46/3346.mp3 195.0 mood/theme---film",
    "test": "track_0001999 artist_000002 album_000003 99/1999.mp3 60.0 mood/theme---fun",
}
MTG_FILE = "data/splits/split-0/autotagging_moodtheme-{}.tsv"
MTG_TRAIN = MTG_FILE.format("train")


@pytest.fixture
def mtg_jamendo(tmp_path) -> Path:
    """Four tracks in the official layout, with its CRLF line ends, two of them with audio."""
    for part, rows in MTG_ROWS.items():
        text = f"TRACK_ID ARTIST_ID ALBUM_ID PATH DURATION TAGS\n{rows}\n\n".replace(" ", "\t")
        write(tmp_path / MTG_FILE.format(part), text.replace("\n", "\r\n"))
    for name in ("48/948.mp3", "48/948.low.mp3", "50/950.low.mp3"):
        write(tmp_path / "audio" / name)
    return tmp_path


SONGS = ("air-sexy_boy", "air-run-remix", "abba-sos")
EMOTIONS_OF_CAL500 = [label.official for label in VOCABULARIES["cal500"]]
CAL500_WORDS = ["Genre-Rock", *(x for word in EMOTIONS_OF_CAL500 for x in (word, f"NOT-{word}"))]


@pytest.fixture
def cal500(tmp_path) -> Path:
    """Three songs in the official layout, with audio."""
    folder = tmp_path / "CAL500_noAudioFeatures"
    write(folder / "songNames.txt", "\n".join(SONGS) + "\n")
    write(folder / "vocab.txt", "\n".join(CAL500_WORDS) + "\n")
    chosen = [
        {"Emotion-Laid-back_/_Mellow", "Emotion-Angry_/_Agressive", "NOT-Emotion-Happy"},
        {"Emotion-Sad", "Genre-Rock"},
        set(),
    ]
    rows = [",".join(str(int(word in song)) for word in CAL500_WORDS) for song in chosen]
    write(folder / "hardAnnotations.txt", "\n".join(rows) + "\n")
    for song in SONGS:
        write(tmp_path / "CAL500_32kps" / f"{song}.mp3")
    return tmp_path


EMOTIFY_HEADER = (
    "track id, genre, amazement, solemnity, tenderness, nostalgia, calmness, power,"
    " joyful_activation, tension, sadness, mood, liked, disliked, age, gender, mother tongue"
)


@pytest.fixture
def emotify(tmp_path) -> Path:
    """Three songs, rows as in the official file, with audio."""
    votes = [
        # 1: solemnity 2, calmness 2, then amazement, nostalgia and sadness with 1 each.
        *((1, "classical", row) for row in ("110010000", "010110000", "000000001")),
        # 200: only power and tension were ever chosen.
        *((200, "rock", row) for row in ("000001000", "000001010")),
        (301, "pop", "000000100"),
    ]
    rows = [f"{id_},{genre},{','.join(row)},3,1,0,21,1,English" for id_, genre, row in votes]
    write(tmp_path / "data.csv", "\n".join([EMOTIFY_HEADER, *rows]) + "\n")
    for name in ("classical/1", "rock/100", "pop/1"):
        write(tmp_path / "emotifymusic" / f"{name}.mp3")
    return tmp_path


METADATA, ANNOTATIONS = (f"panda_dataset_taffc_{x}.csv" for x in ("metadata", "annotations"))


@pytest.fixture
def audio_emotion_4q(tmp_path) -> Path:
    """Three clips in the official layout, the metadata in Latin-1, with audio."""
    rows = [
        ("MT1", "Beyoncé", "Déjà, 'vu'", "Q1", "Fun, Laid-Back/Mellow; Fun", "Pop/Rock, R&B"),
        ("MT2", "", "Wry", "Q3", "Wry, Fun, Angry, Sad, Cold", "Jazz"),
        ("MT3", "Beyoncé", "Sad", "Q3", "Fun, Sad", "Jazz"),
    ]
    lines = [("Song", "Artist", "Title", "Quadrant", "MoodsStr", "GenresStr"), *rows]
    text = "".join('"' + '","'.join(line) + '"\n' for line in lines)
    (tmp_path / METADATA).write_bytes(text.encode("latin-1"))
    write(tmp_path / ANNOTATIONS, "Song,Quadrant\nMT3,Q3\nMT1,Q1\nMT2,Q3\n")
    for song, _, _, quadrant, *_ in rows:
        write(tmp_path / quadrant / f"{song}.mp3")
    return tmp_path


INFO = "dataset info.csv"


@pytest.fixture
def mirex_mood(tmp_path) -> Path:
    """Three clips in the official layout, their facts in UTF-16 and another order, with audio."""
    write(tmp_path / "categories.txt", "Agressive\nwhimsical\nTense - Anxious\n")
    write(tmp_path / "clusters.txt", "Cluster 5\nCluster 4\nCluster 5\n")
    rows = ["A Mess; a Kiss;X [1];LP;002.mp3;", "Ego;;LP;003.mp3;", 'So "What;Blå;LP;001.mp3;']
    text = "\r\n".join(["Title;Artist;Album;Filename;", *rows]) + "\r\n"
    (tmp_path / INFO).write_bytes(text.encode("utf-16"))
    for number in (1, 2, 3):
        write(tmp_path / "Audio" / f"{number:03d}.mp3")
    return tmp_path


# ---------------------------------------------------------------------------- what is loaded


def test_mtg_jamendo(mtg_jamendo):
    with pytest.warns(UserWarning, match=r"2 of 4 .* 46/3346\.mp3 or 46/3346\.low\.mp3"):
        dataset = data.load_mtg_jamendo(mtg_jamendo, audio="skip")
    assert (dataset.name, dataset.top_k) == ("mtg-jamendo", 2)
    assert dataset.labels == names("mtg-jamendo")
    assert list(labels_of(dataset).values()) == [("calm", "sad"), ("epic",), ("film",), ("fun",)]
    tracks = dataset.tracks
    assert tracks.index[2] == "track_0003346"
    assert tracks["split"].tolist() == ["train", "train", "validation", "test"]
    assert tracks["group"].tolist() == ["artist_000087"] * 2 + ["artist_000517", "artist_000002"]
    assert audio_of(dataset) == ["48/948.mp3", "50/950.low.mp3", None, None]
    assert tracks["duration"].tolist() == [212.7, 248.0, 195.0, 60.0]
    with pytest.raises(ValueError, match="0 to 4, not 5"):
        data.load_mtg_jamendo(mtg_jamendo, 5)
    assert dataset.source["options"] == {"split_number": 0}
    assert dataset.source["files"][MTG_TRAIN] == file_hash(mtg_jamendo / MTG_TRAIN)


def test_cal500(cal500):
    dataset = data.load_cal500(cal500)
    assert dataset.top_k == 4
    assert dataset.labels == names("cal500")
    two = ("angry / aggressive", "laid-back / mellow")
    assert labels_of(dataset) == dict(zip(SONGS, (two, ("sad",), ()), strict=True))
    assert dataset.tracks["group"].tolist() == ["air", "air", "abba"]
    assert audio_of(dataset) == [f"CAL500_32kps/{song}.mp3" for song in SONGS]
    assert dataset.tracks["split"].isna().all()
    files = [f"CAL500_noAudioFeatures/{x}.txt" for x in ("songNames", "vocab", "hardAnnotations")]
    assert list(dataset.source["files"]) == files


def test_emotify(emotify):
    dataset = data.load_emotify(emotify)
    assert dataset.top_k == 3
    assert dataset.labels == names("emotify")
    assert labels_of(dataset) == {
        "emotify-001": ("amazement", "solemnity", "calmness"),
        "emotify-200": ("power", "tension"),
        "emotify-301": ("joyful activation",),
    }
    tracks = dataset.tracks
    assert tracks["genre"].tolist() == ["classical", "rock", "pop"]
    assert tracks["group"].tolist() == list(tracks.index)
    assert tracks["listeners"].tolist() == [3, 2, 1]
    assert tracks.loc["emotify-200", "share"] == (0, 0, 0, 0, 0, 1, 0, 0.5, 0)
    assert audio_of(dataset) == ["classical/1.mp3", "rock/100.mp3", "pop/1.mp3"]
    by_share = data.load_emotify(emotify, rule=2 / 3)
    *most, _ = labels_of(by_share).values()
    assert most == [("solemnity", "calmness"), ("power",)]
    for options in ({"rule": 1.5}, {"rule": "top5"}):
        with pytest.raises(ValueError, match=str(*options.values())):
            data.load_emotify(emotify, **options)


def test_audio_emotion_4q(audio_emotion_4q):
    dataset = data.load_audio_emotion_4q(audio_emotion_4q, least=1)
    assert dataset.top_k == 5
    assert dataset.labels == ("angry", "cold", "fun", "laid-back / mellow", "sad", "wry")
    tracks = dataset.tracks
    assert labels_of(dataset)["MT1"] == ("fun", "laid-back / mellow")
    assert labels_of(dataset)["MT2"] == ("angry", "cold", "fun", "sad", "wry")
    assert tracks["group"].tolist() == ["Beyoncé", "MT2", "Beyoncé"]
    assert tracks["quadrant"].tolist() == ["Q1", "Q3", "Q3"]
    assert audio_of(dataset) == ["Q1/MT1.mp3", "Q3/MT2.mp3", "Q3/MT3.mp3"]
    assert dataset.source["options"] == {"least": 1}
    (audio_emotion_4q / "Q3/MT2.mp3").unlink()  # the vocabulary is that of all clips
    with pytest.warns(UserWarning, match="1 of 3"):
        often = data.load_audio_emotion_4q(audio_emotion_4q, least=2, audio="skip")
    assert (often.labels, often.top_k) == (("fun", "sad"), 2)
    with pytest.raises(ValueError, match="4 clips"):
        data.load_audio_emotion_4q(audio_emotion_4q, least=4)


def test_mirex_mood(mirex_mood):
    dataset = data.load_mirex_mood(mirex_mood)
    assert (dataset.top_k, dataset.labels) == (1, names("mirex-mood"))
    assert labels_of(dataset) == {
        "mirex-001": ("aggressive",),
        "mirex-002": ("whimsical",),
        "mirex-003": ("tense / anxious",),
    }
    assert dataset.tracks["group"].tolist() == ["Blå", "X [1]", "mirex-003"]
    assert dataset.tracks["cluster"].tolist() == [5, 4, 5]
    assert audio_of(dataset) == ["Audio/001.mp3", "Audio/002.mp3", "Audio/003.mp3"]


def test_folder_with_every_column(tmp_path):
    third = str(write(tmp_path / "c.wav"))
    for name in ("a.wav", "sub/b.wav"):
        write(tmp_path / name)
    rows = ["a.wav,Happy ; calming,train,Nina", 'sub/b.wav,"calming;  deep,  dark",test,', ""]
    text = "\n".join(["path, labels, split, group", *rows, f"{third},,,Nina\n"])
    dataset = data.load_folder(write(tmp_path / "mine.csv", text))
    assert dataset.name == "mine"
    assert dataset.labels == ("calming", "deep, dark", "happy")
    assert list(labels_of(dataset).values()) == [
        ("calming", "happy"),
        ("calming", "deep, dark"),
        (),
    ]
    assert dataset.tracks["split"].tolist() == ["train", "test", None]
    assert dataset.tracks["group"].tolist() == ["Nina", "sub/b.wav", "Nina"]
    paths = dataset.tracks["audio"]
    assert paths.tolist() == [str(tmp_path / name) for name in ("a.wav", "sub/b.wav", "c.wav")]


# ---------------------------------------------------------------------------- what is refused

LOADERS = {
    "mtg_jamendo": data.load_mtg_jamendo,
    "cal500": data.load_cal500,
    "emotify": data.load_emotify,
    "audio_emotion_4q": partial(data.load_audio_emotion_4q, least=1),
    "mirex_mood": data.load_mirex_mood,
}
CAL500_FILE = "CAL500_noAudioFeatures/{}.txt".format


@without_audio
@pytest.mark.parametrize(
    ("sample", "file", "old", "new", "said"),
    [
        ("mtg_jamendo", MTG_TRAIN, "TRACK_ID", "ID", "TRACK_ID"),
        ("mtg_jamendo", MTG_TRAIN, "mood/theme---epic", "genre---rock", "3: .*---rock"),
        ("mtg_jamendo", MTG_TRAIN, "212.7", "long", "line 2: long"),
        ("mtg_jamendo", MTG_TRAIN, "\t248.0\tmood/theme---epic", "", "line 3: 4"),
        ("cal500", CAL500_FILE("songNames"), "abba-sos", "air-sexy_boy", "air-sexy_boy"),
        ("cal500", CAL500_FILE("songNames"), "abba-sos\n", "", r"\(3, 37\).*\(2, 37\)"),
        ("cal500", CAL500_FILE("vocab"), "\nEmotion-Sad\n", "\nEmotion-Glad\n", "sad"),
        ("cal500", CAL500_FILE("hardAnnotations"), "0,1", "0,2", r"2\.0"),
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
def test_a_bad_file_is_named(sample, file, old, new, said, request):
    root = request.getfixturevalue(sample)
    encoding = {METADATA: "latin-1", INFO: "utf-16"}.get(file, "utf-8")
    text = (root / file).read_bytes().decode(encoding)
    assert old in text
    (root / file).write_bytes(text.replace(old, new, 1).encode(encoding))
    with pytest.raises(ValueError, match=rf"{root}.*{said}|{sample.replace('_', '-')}: .*{said}"):
        LOADERS[sample](root, audio="skip")


@without_audio
@pytest.mark.parametrize(
    "written",
    [
        codecs.BOM_UTF8 + "path,labels\nCafé.wav,happy;calm\n".encode(),
        "path,labels\nCafé.wav,happy;calm\n".encode("latin-1"),
        "path,labels\nCafé.wav,happy;calm\n".encode("utf-16"),
        "path,labels\r\nCafé.wav,happy;calm\r\n\r\n".encode(),
        "path,labels\rCafé.wav,happy;calm\r".encode(),
    ],
    ids=["byte-order mark", "latin-1", "utf-16", "windows", "old mac"],
)
def test_a_csv_of_any_program_is_read(tmp_path, written):
    (tmp_path / "mine.csv").write_bytes(written)
    dataset = data.load_folder(tmp_path / "mine.csv", audio="skip")
    assert labels_of(dataset) == {"Café.wav": ("calm", "happy")}


@without_audio
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path;labels\na.wav;sad, calm\n", "';', expected ','.*python -c"),
        ("path\tlabels\na.wav\tsad\n", r"'\\t', expected ','.*python -c"),
        ("file,labels\na.wav,sad\n", "'path'.*rename 'file' to 'path'"),
        ("Filename,label\na.wav,sad\n", "rename 'Filename' to 'path', rename 'label' to 'labels'"),
        ("path,Tags\na.wav,sad\n", "rename 'Tags' to 'labels'"),
        ("path,labels,artist\na.wav,sad,Air\n", "rename 'artist' to 'group'"),
        ("path,labels,group,artist\na.wav,sad,x,Air\n", "delete 'artist'"),
        ("path,labels,mood\na.wav,sad,1\n", "delete 'mood'"),
        ("path,artist\na.wav,Air\n", "rename 'artist' to 'group', add 'labels'"),
        ("a.wav,sad\nb.wav,calm\n", "put a line .* above 'a.wav,sad'"),
        ("path,labels\na.wav,sad\nb.wav,sad\na.wav,fun\n", "'a.wav'"),
        ("path,labels\na.wav,sad,calm\n", "line 2: 3"),
        ("path,labels,split\na.wav,sad,valid\n", "line 2: valid"),
        ("path,labels\na.wav,\n", "no track has a label"),
        ("path,labels\na.wav,sad/calm\nb.wav,calm\n", "'/', expected ';'.*'calm', 'sad/calm'"),
        ("path,labels\na.wav,sad + calm\nb.wav,calm+gay\n", r"'\+', expected ';'.*'calm\+gay'"),
        ('path,labels\na.wav,sad;fun\nb.wav,"calm, sad"\n', "',', expected ';'.*'calm, sad'"),
        ("path,labels\na.wav,\"['sad', 'calm']\"\n", "brackets; write happy;calm.*line 2"),
    ],
)
def test_a_bad_csv_is_named_with_its_mend(tmp_path, text, said):
    with pytest.raises(ValueError, match=rf"(?s)mine\.csv: .*{said}"):
        data.load_folder(write(tmp_path / "mine.csv", text), audio="skip")


@without_audio
def test_labels_may_hold_signs_that_separate_nothing(tmp_path):
    text = "path,labels\na.wav,calming / soothing\nb.wav,R&R\n"
    found = data.load_folder(write(tmp_path / "mine.csv", text), audio="skip")
    assert found.labels == ("calming / soothing", "r&r")


@without_audio
def test_the_mend_of_a_semicolon_csv_mends_it(tmp_path):
    """The command in the message, as it stands there."""
    path = write(tmp_path / "mine.csv", 'path;labels\na.wav;"happy;calm"\nb.wav;deep, dark\n')
    with pytest.raises(ValueError, match="mended") as error:
        data.load_folder(path)
    command = re.search(r"python -c .*", str(error.value)).group()
    run = {"shell": True, "cwd": tmp_path, "check": True}
    subprocess.run(command.replace("python", sys.executable, 1), **run)
    mended = data.load_folder(tmp_path / "mended.csv", audio="skip")
    assert labels_of(mended) == {"a.wav": ("calm", "happy"), "b.wav": ("deep, dark",)}


def test_missing_audio_of_a_csv_is_one_error(tmp_path):
    path = write(tmp_path / "mine.csv", "path,labels\na.wav,sad\nb.wav,fun\n")
    write(tmp_path / "b.wav")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 .*a\.wav.*audio='skip'"):
        data.load_folder(path)


@pytest.mark.parametrize(
    ("sample", "file", "audio"),
    [
        ("mtg_jamendo", MTG_TRAIN, "audio/48/948.low.mp3"),
        ("cal500", CAL500_FILE("vocab"), "CAL500_32kps/abba-sos.mp3"),
        ("emotify", "data.csv", "emotifymusic/pop/1.mp3"),
        ("audio_emotion_4q", METADATA, "Q3/MT3.mp3"),
        ("mirex_mood", INFO, "Audio/003.mp3"),
    ],
)
def test_a_missing_file_is_named(sample, file, audio, request):
    root, load = request.getfixturevalue(sample), LOADERS[sample]
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
        ({"labels": ("b", "c")}, "a of t0"),
        ({"tracks": grouped([1]).tracks.drop(columns="group")}, "'group'"),
        ({"tracks": pd.concat([grouped([1]).tracks] * 2)}, "'t0'"),
    ],
)
def test_datasets_that_would_mislead_are_refused(changes, said):
    whole = {"name": "two", "labels": ("a", "b"), "tracks": grouped([1]).tracks, "top_k": 2}
    assert Dataset(**whole).targets().tolist() == [[True, False]]
    with pytest.raises(ValueError, match=f"two: .*{said}"):
        Dataset(**whole | changes)


# ------------------------------------------------------------------------------------- Mulan

EMOTIONS = [label.official for label in VOCABULARIES["emotions"]]
FEATURES = ["Centroid", "Rolloff", "Flux", *(f"MFCC{i}" for i in range(13))]
TIMBRE = list(product(("Mean", "Std"), ("Mean", "Std"), FEATURES))  # in Mulan's order
# ... as either file spells them
MARSYAS = [f"{t}_Acc1298_{w}_Mem40_{f.replace('MFCC', 'MFCC_')}" for t, w, f in TIMBRE]
MARSYAS_CAL500 = [f"{t}_Acc1000_{w}_Mem40_{f}_Power_powerFFT_AudioCh0" for t, w, f in TIMBRE]


def arff(labels: list[str], features: list[str], rows: list[list[object]]) -> str:
    lines = [f"@attribute {name} numeric" for name in features]
    lines += [f"@attribute {name} {{0,1}}" for name in labels]
    body = [",".join(map(str, row)) for row in rows]
    return "\n".join(["@relation test", *lines, "", "@data", *body]) + "\n"


def test_mulan_columns_are_found_by_meaning_not_by_place(tmp_path):
    """CAL500's columns shuffled, with zero crossings, NOT- twins and other words between."""
    features = [*MARSYAS_CAL500, "Mean_Acc1000_Mean_Mem40_ZeroCrossings_HopSize512"]
    order = np.random.default_rng(0).permutation(len(features)).tolist()
    words = [word.replace("_/_", "-") for word in EMOTIONS_OF_CAL500]
    words[0] = "Angry-Agressive"
    labels = [x for word in words for x in (f"NOT-{word}", word, f"Vocals-{word}")]
    off = [word for word in words if word not in ("Emotion-Laid-back-Mellow", "Angry-Agressive")]
    row = [*order, *(int(label not in off) for label in labels)]
    path = write(tmp_path / "x.arff", arff(labels, [features[i] for i in order], [row]))
    dataset, found = data.load_mulan(path)
    assert (dataset.name, dataset.labels, dataset.top_k) == ("cal500", names("cal500"), 4)
    assert labels_of(dataset) == {"cal500-001": ("angry / aggressive", "laid-back / mellow")}
    np.testing.assert_array_equal(found.values[0, 0], np.arange(64))


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (arff(EMOTIONS[1:], MARSYAS, [[1] * 69]), "'amazedsuprised'"),
        (arff(EMOTIONS, [*MARSYAS, MARSYAS[0]], [[1] * 71]), "mean-mean-centroid"),
        (arff(EMOTIONS, MARSYAS, [[1] * 71]), r"70 .*\(1, 71\)"),
        (arff(EMOTIONS, MARSYAS, [["nan"] + [1] * 69]), "finite"),
    ],
)
def test_a_bad_arff_is_named(tmp_path, text, said):
    path = write(tmp_path / "x.arff", text)
    with pytest.raises(ValueError, match=rf"x\.arff: .*{said}"):
        data.load_mulan(path)


# ---------------------------------------------------------------------------------- overview


@without_audio
def test_describe(mtg_jamendo, cal500):
    loaded = [data.load_mtg_jamendo(mtg_jamendo, audio="skip"), data.load_cal500(cal500)]
    table = data.describe([*loaded, grouped([2, 1])])
    assert list(table.index) == ["mtg-jamendo", "cal500", "test"]
    hours, licence = table.pop("hours"), table.pop("licence")
    np.testing.assert_allclose(hours, [715.7 / 3600, np.nan, np.nan])
    assert licence.tolist()[1:] == ["none stated", "unknown"]
    expected = [[4, 56, 5, 1.25, 0, 3, 2], [3, 18, 3, 1, 1, 2, 3], [3, 2, 1, 1, 0, 2, 0]]
    np.testing.assert_array_equal(table, expected)


# -------------------------------------------------------------------------------- the real files


@without_audio
@pytest.mark.real_data
def test_real_mtg_jamendo(mtg_root):
    dataset = data.load_mtg_jamendo(mtg_root, audio="skip")
    tracks, targets = dataset.tracks, dataset.targets()
    counts = tracks["split"].value_counts().to_dict()
    assert counts == {"train": 9_949, "validation": 3_802, "test": 4_231}
    assert targets[tracks["split"] == "test"].sum(axis=1).mean() == pytest.approx(1.79, abs=0.005)
    assert tracks.groupby("group")["split"].nunique().max() == 1
    assert tracks["duration"].sum() / 3600 == pytest.approx(1095, abs=0.5)


@without_audio
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


@without_audio
@pytest.mark.real_data
def test_real_audio_emotion_4q(audio_emotion_4q_root):
    dataset = data.load_audio_emotion_4q(audio_emotion_4q_root, audio="skip")
    tracks = dataset.tracks
    assert (len(tracks), len(dataset.labels)) == (900, 121)
    assert dataset.targets().sum(axis=1).mean() == pytest.approx(5.2, abs=0.005)
    assert dataset.targets().sum(axis=0).min() >= 20
    assert tracks["quadrant"].value_counts().tolist() == [225] * 4
    assert tracks["audio"].notna().sum() == len(list(audio_emotion_4q_root.rglob("*.mp3")))
    everything = data.load_audio_emotion_4q(audio_emotion_4q_root, least=1, audio="skip")
    assert everything.labels == names("audio-emotion-4q")


@without_audio
@pytest.mark.real_data
def test_real_mirex_mood(mirex_root):
    dataset = data.load_mirex_mood(mirex_root, audio="skip")
    tracks = dataset.tracks
    assert len(tracks) == 903
    assert dataset.targets().sum(axis=0).min() == 22
    assert tracks["cluster"].value_counts().sort_index().tolist() == [170, 164, 215, 191, 163]
    assert len(tracks.value_counts(["labels", "cluster"])) == 28  # no word in two clusters
    assert tracks.loc["mirex-782", "group"] == "X [1]"  # the row with a semicolon in its title
    assert tracks["audio"].notna().sum() == len(list(mirex_root.rglob("*.mp3")))


@pytest.mark.real_data
def test_real_mulan(mulan_root):
    (cal500, one), (emotions, other) = (
        data.load_mulan(mulan_root / f"{name}.arff") for name in ("CAL500", "emotions")
    )
    assert (len(cal500), len(emotions)) == (502, 593)
    assert cal500.targets().sum(axis=1).mean() == pytest.approx(3.940, abs=0.001)
    assert emotions.targets().sum(axis=0).tolist() == [173, 166, 264, 148, 168, 189]
    # The same column means the same on the same scale in both files.
    means = [features.values[:, 0].mean(axis=0) for features in (one, other)]
    assert np.corrcoef(np.log(np.abs(means)))[0, 1] > 0.99


def test_a_group_with_tracks_in_two_splits_is_refused(tmp_path):
    table = "path,labels,split,group\na.wav,happy,train,A\nb.wav,sad,validation,A\n"
    (tmp_path / "mine.csv").write_text(table)
    with pytest.raises(ValueError, match="A"):
        data.load_folder(tmp_path / "mine.csv", audio="skip")


def test_a_space_after_a_comma_is_no_part_of_a_quoted_field(tmp_path):
    (tmp_path / "mine.csv").write_text('path, labels\na.wav, "happy; calm"\n')
    assert data.load_folder(tmp_path / "mine.csv", audio="skip").labels == ("calm", "happy")


def test_a_column_a_label_is_refused_with_lines_that_mend_it(tmp_path, monkeypatch):
    table = tmp_path / "mine.csv"
    table.write_text("path,happy,sad,group\na.wav,1,0,A\nb.wav,1,1,B\n")
    with pytest.raises(ValueError, match="happy, sad") as caught:
        data.load_folder(table, audio="skip")
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).partition("in Python: ")[2], {"pandas": pd})
    with pytest.warns(UserWarning, match="missing"):
        found = data.load_folder(table, audio="skip")
    assert found.tracks["labels"].tolist() == [("happy",), ("happy", "sad")]


@pytest.mark.parametrize(
    "name",
    ["..", "con", "-x", "a／b", "a\x1b", "a\u202e", "n" * 200, "emotify", "a\\b"],
)
def test_names_that_no_dataset_can_have(tmp_path, name):
    path = write(tmp_path / f"{name}.csv", "path,labels\na.wav,calm\n")
    with pytest.raises(ValueError, match="called"):
        data.load_folder(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sep=;\npath;labels\na.wav;calm\n", "sep=;"),
        ("path,labels\na.wav,calm\n./a.wav,sad\n", "paths occur more than once"),
        ("path,labels\na.wav,ca\0lm\n", "no text"),
        (",".join(map(str, range(3000))) + "\n" + "," * 2999, "3,000 columns"),
    ],
)
def test_tables_of_ones_own_that_are_wrong(tmp_path, text, named):
    with pytest.raises(ValueError, match=named):
        data.load_folder(write(tmp_path / "mine.csv", text))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(ValueError, match=name):
            data.load_folder(tmp_path / name)
