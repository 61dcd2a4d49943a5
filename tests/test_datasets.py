"""Loaders: tiny samples in the datasets' own layouts, everything that can be wrong, real files."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_utils import data, evaluation
from mer_utils.data import VOCABULARIES, Dataset, names
from mer_utils.storage import file_hash


def labels_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return dataset.tracks["labels"].to_dict()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(8_000), 8_000, format="WAV")
    return path


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode("utf-8")
    assert old in text
    write(path, text.replace(old, new, 1))


# -------------------------------------------------------------------------------- MTG-Jamendo

MTG_HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"


@pytest.fixture
def mtg(tmp_path) -> Path:
    """Four tracks in the official layout, with its CRLF line ends, two of them with audio."""
    lines = {
        "train": [
            "track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tmood/theme---sad\tmood/theme---calm",
            "track_0000950\tartist_000087\talbum_000149\t50/950.mp3\t248.0\tmood/theme---epic",
        ],
        "validation": [
            "track_0003346\tartist_000517\talbum_000521\t46/3346.mp3\t195.0\tmood/theme---film"
        ],
        "test": ["track_0001999\tartist_000002\talbum_000003\t99/1999.mp3\t60.0\tmood/theme---fun"],
    }
    for number in range(5):
        for part, rows in lines.items():
            text = "\r\n".join([MTG_HEADER, *rows]) + "\r\n\r\n"
            name = f"autotagging_moodtheme-{part}.tsv"
            write(tmp_path / "data" / "splits" / f"split-{number}" / name, text)
    sound(tmp_path / "audio" / "48" / "948.mp3")
    sound(tmp_path / "audio" / "48" / "948.low.mp3")
    sound(tmp_path / "audio" / "50" / "950.low.mp3")
    return tmp_path


def mtg_train(root: Path) -> Path:
    return root / "data" / "splits" / "split-0" / "autotagging_moodtheme-train.tsv"


def test_mtg_jamendo(mtg):
    with pytest.warns(UserWarning, match=r"2 of 4 audio files are missing .* 46/3346\.mp3 or "):
        dataset = data.load_mtg_jamendo(mtg, audio="skip")
    assert dataset.name == "mtg-jamendo"
    assert dataset.top_k == 2
    assert dataset.labels == names("mtg-jamendo")
    assert labels_of(dataset) == {
        "track_0000948": ("calm", "sad"),
        "track_0000950": ("epic",),
        "track_0003346": ("film",),
        "track_0001999": ("fun",),
    }
    tracks = dataset.tracks
    assert tracks["split"].tolist() == ["train", "train", "validation", "test"]
    assert tracks["group"].tolist() == ["artist_000087"] * 2 + ["artist_000517", "artist_000002"]
    assert tracks["audio"].tolist() == [
        str(mtg / "audio" / "48" / "948.mp3"),
        str(mtg / "audio" / "50" / "950.low.mp3"),
        None,
        None,
    ]
    assert tracks["duration"].sum() == pytest.approx(715.7)
    assert len(dataset.source["files"]) == 3
    relative = mtg_train(mtg).relative_to(mtg).as_posix()
    assert dataset.source["files"][relative] == file_hash(mtg_train(mtg))
    assert dataset.source["options"] == {"split_number": 0}
    json.dumps(dataset.source)


def test_mtg_jamendo_audio_elsewhere_and_other_splits(mtg, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("mp3")
    for name in ("48/948", "50/950", "46/3346", "99/1999"):
        sound(elsewhere / f"{name}.low.mp3")
    for number in range(5):
        dataset = data.load_mtg_jamendo(mtg, number, audio_root=elsewhere)
        assert dataset.tracks["audio"].notna().all()
    with pytest.raises(ValueError, match="splits 0 to 4, not 5"):
        data.load_mtg_jamendo(mtg, 5)


def test_missing_audio_is_one_error_that_counts(mtg):
    with pytest.raises(FileNotFoundError, match=r"mtg-jamendo: 2 of 4 .*pass audio='skip'"):
        data.load_mtg_jamendo(mtg)
    with pytest.raises(ValueError, match='"require" or "skip", not \'maybe\''):
        data.load_mtg_jamendo(mtg, audio="maybe")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TRACK_ID", "ID", "first line has to be"),
        (
            "mood/theme---epic",
            "genre---rock",
            "unreadable lines: 1 of 2, first: line 3: unknown tag 'genre---rock'",
        ),
        ("212.7", "long", "line 2: duration 'long'"),
        ("\t50/950.mp3\t248.0\tmood/theme---epic", "", "line 3: fewer than 6 fields"),
        ("track_0000950", "track_0000948", "track ids that occur more than once: 1, .*0000948"),
    ],
)
def test_bad_mtg_jamendo_files(mtg, old, new, said):
    replace_in(mtg_train(mtg), old, new)
    with pytest.raises(ValueError, match=said) as caught:
        data.load_mtg_jamendo(mtg, audio="skip")
    assert "split-0" in str(caught.value)


def test_a_missing_split_file_is_named(mtg):
    mtg_train(mtg).unlink()
    with pytest.raises(FileNotFoundError, match=r"moodtheme-train\.tsv: no such file"):
        data.load_mtg_jamendo(mtg, audio="skip")


# ------------------------------------------------------------------------------------- CAL500

SONGS = ("air-sexy_boy", "air-run-remix", "abba-sos")
CAL500_WORDS = [
    "Genre-Rock",
    *(
        word
        for label in VOCABULARIES["cal500"]
        for word in (label.official, f"NOT-{label.official}")
    ),
]


def cal500_matrix(shares: list[dict[str, float]]) -> str:
    """The lines of an annotation file; each song's shares by word, all other words 0."""
    rows = [[f"{song.get(word, 0):g}" for word in CAL500_WORDS] for song in shares]
    return "".join(",".join(row) + "\n" for row in rows)


@pytest.fixture
def cal500(tmp_path) -> Path:
    """Three songs in the official layout, with audio and surveys."""
    folder = tmp_path / "CAL500_noAudioFeatures"
    write(folder / "songNames.txt", "\n".join(SONGS) + "\n")
    write(folder / "vocab.txt", "\n".join(CAL500_WORDS) + "\n")
    soft = [
        {"Emotion-Sad": 0.5, "Emotion-Angry_/_Agressive": 1, "NOT-Emotion-Happy": 1},
        {"Emotion-Laid-back_/_Mellow": 0.75, "Emotion-Sad": 0.25, "Genre-Rock": 1},
        {},
    ]
    write(folder / "softAnnotations.txt", cal500_matrix(soft))
    hard = [{word: float(share >= 0.8) for word, share in song.items()} for song in soft]
    write(folder / "hardAnnotations.txt", cal500_matrix(hard))
    for song in SONGS:
        sound(tmp_path / "CAL500_32kps" / f"{song}.mp3")
    surveys = {
        # Means: laid-back 4.5; sad 4, happy 4 and exciting 4; tender 3.5; angry 1.
        "air-sexy_boy_01": {"Laid-back_/_Mellow": 5, "Sad": 4, "Happy": 3, "Tender_/_Soft": 3},
        "air-sexy_boy_02": {
            "Laid-back_/_Mellow": 4,
            "Happy": 5,
            "Exciting_/_Thrilling": 4,
            "Tender_/_Soft": 4,
            "Angry_/_Agressive": 1,
        },
        # No mean above 4: the highest alone, of equal ones the earlier in the vocabulary.
        "air-run-remix_01": {"Sad": 4, "Happy": 4, "Touching_/_Loving": 1},
        # One above 4 and only two words rated.
        "abba-sos_07": {"Happy": 5, "Sad": 1},
    }
    for name, ratings in surveys.items():
        lines = ['Song-Tonality = "2"', 'NOT-Emotion-Sad = "5"', 'Emotion-Powerful_/_Strong = ""']
        lines += [f'Emotion-{word} = "{rating}"' for word, rating in ratings.items()]
        write(tmp_path / "annotations" / f"{name}.txt", "\n".join(lines) + "\n")
    return tmp_path


def test_cal500_hard(cal500):
    dataset = data.load_cal500(cal500)
    assert dataset.top_k == 4
    assert dataset.labels == names("cal500")
    assert len(dataset.labels) == 18
    assert labels_of(dataset) == {
        "air-sexy_boy": ("angry / aggressive",),
        "air-run-remix": (),
        "abba-sos": (),
    }
    assert dataset.tracks["group"].tolist() == ["air", "air", "abba"]
    assert dataset.tracks["audio"].tolist() == [
        str(cal500 / "CAL500_32kps" / f"{song}.mp3") for song in SONGS
    ]
    assert dataset.tracks["split"].isna().all()
    assert dataset.source["options"] == {"annotations": "hard", "threshold": 1.0}
    assert set(dataset.source["files"]) == {
        f"CAL500_noAudioFeatures/{name}.txt" for name in ("songNames", "vocab", "hardAnnotations")
    }
    json.dumps(dataset.source)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, [("angry / aggressive", "sad"), ("laid-back / mellow",), ()]),
        (0.25, [("angry / aggressive", "sad"), ("laid-back / mellow", "sad"), ()]),
        (1, [("angry / aggressive",), (), ()]),
    ],
)
def test_cal500_soft(cal500, threshold, expected):
    dataset = data.load_cal500(cal500, "soft", threshold)
    assert dataset.tracks["labels"].tolist() == expected


def test_cal500_listeners(cal500):
    dataset = data.load_cal500(cal500, "listeners")
    assert labels_of(dataset) == {
        "air-sexy_boy": (
            "exciting / thrilling",
            "happy",
            "laid-back / mellow",
            "sad",
            "tender / soft",
        ),
        "air-run-remix": ("happy",),
        "abba-sos": ("happy", "sad"),
    }
    assert len(dataset.source["files"]) == 1 + 4
    higher = data.load_cal500(cal500, "listeners", threshold=4.9)
    assert labels_of(higher)["air-sexy_boy"] == ("laid-back / mellow",)


def test_cal500_surveys_may_lie_with_the_annotations(cal500):
    at_root = labels_of(data.load_cal500(cal500, "listeners"))
    (cal500 / "annotations").rename(cal500 / "CAL500_noAudioFeatures" / "annotations")
    assert labels_of(data.load_cal500(cal500, "listeners")) == at_root


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"annotations": "hard", "threshold": 0.5}, "have no threshold"),
        ({"annotations": "soft", "threshold": 0}, "above 0 and at most 1"),
        ({"annotations": "soft", "threshold": 80}, "above 0 and at most 1"),
        ({"annotations": "expert"}, "not 'expert'"),
    ],
)
def test_cal500_arguments(cal500, arguments, said):
    with pytest.raises(ValueError, match=said):
        data.load_cal500(cal500, **arguments)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("songNames", "abba-sos", "air-sexy_boy", "songs that occur more than once: 1"),
        ("songNames", "abba-sos\n", "", "3 lines, but songNames.txt has 2 songs"),
        (
            "vocab",
            "\nEmotion-Sad\n",
            "\nEmotion-Glad\n",
            "emotion words missing: 1 of 18, first: 'Emotion-Sad'",
        ),
        (
            "vocab",
            "Genre-Rock\n",
            "",
            "unreadable lines: 3 of 3, first: line 1: 37 values for 36 words",
        ),
        (
            "hardAnnotations",
            "0,",
            "2,",
            "unreadable lines: 1 of 3, first: line 1: a value that is not 0 or 1",
        ),
        ("hardAnnotations", "0,", "x,", "line 1: a value that is not 0 or 1"),
        ("hardAnnotations", "0,", "", "line 1: 36 values for 37 words"),
    ],
)
def test_bad_cal500_files(cal500, name, old, new, said):
    replace_in(cal500 / "CAL500_noAudioFeatures" / f"{name}.txt", old, new)
    with pytest.raises(ValueError, match=said):
        data.load_cal500(cal500)


def test_bad_cal500_surveys(cal500):
    survey = cal500 / "annotations" / "abba-sos_07.txt"
    replace_in(survey, "Emotion-Happy", "Emotion-Hungry")
    with pytest.raises(
        ValueError, match=r"abba-sos_07\.txt: lines not of the form .*: 1, first: line 4: .*Hungry"
    ):
        data.load_cal500(cal500, "listeners")
    write(survey, 'Song-Tonality = "2"\n')
    with pytest.raises(ValueError, match="rates none of the 18"):
        data.load_cal500(cal500, "listeners")
    survey.unlink()
    with pytest.raises(ValueError, match=r"songs without a survey .*: 1 of 3, first: 'abba-sos'"):
        data.load_cal500(cal500, "listeners")
    for path in (cal500 / "annotations").iterdir():
        path.unlink()
    (cal500 / "annotations").rmdir()
    with pytest.raises(FileNotFoundError, match="CAL500's surveys"):
        data.load_cal500(cal500, "listeners")


# ------------------------------------------------------------------------------------ Emotify

EMOTIFY_HEADER = (
    "track id, genre, amazement, solemnity, tenderness, nostalgia, calmness, power,"
    " joyful_activation, tension, sadness, mood, liked, disliked, age, gender, mother tongue"
)


@pytest.fixture
def emotify(tmp_path) -> Path:
    """Three songs, rows as in the official file, two of them with audio."""
    votes = {
        # 1: solemnity 2, calmness 2, then amazement, nostalgia and sadness with 1 each.
        1: ["110010000", "010110000", "000000001"],
        # 200: only power and tension were ever chosen.
        200: ["000001000", "000001010"],
        301: ["000000100"],
    }
    genres = {1: "classical", 200: "rock", 301: "pop"}
    rows = [
        f"{track},{genres[track]},{','.join(row)},3,1,0,21,1,English"
        for track, listeners in votes.items()
        for row in listeners
    ]
    write(tmp_path / "data.csv", "\n".join([EMOTIFY_HEADER, *rows]) + "\n")
    sound(tmp_path / "emotifymusic" / "classical" / "1.mp3")
    sound(tmp_path / "emotifymusic" / "rock" / "100.mp3")
    sound(tmp_path / "emotifymusic" / "pop" / "1.mp3")
    return tmp_path


def test_emotify_top3(emotify):
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
    names_of_files = [Path(path).relative_to(emotify).as_posix() for path in tracks["audio"]]
    assert names_of_files == [
        f"emotifymusic/{name}.mp3" for name in ("classical/1", "rock/100", "pop/1")
    ]
    assert dataset.source["files"] == {"data.csv": file_hash(emotify / "data.csv")}
    json.dumps(dataset.source)


def test_emotify_share_and_groups(emotify):
    dataset = data.load_emotify(emotify, rule=2 / 3, group="genre")
    assert labels_of(dataset) == {
        "emotify-001": ("solemnity", "calmness"),
        "emotify-200": ("power",),
        "emotify-301": ("joyful activation",),
    }
    assert dataset.tracks["group"].tolist() == ["classical", "rock", "pop"]
    for rule in (0, 1.5, "top5"):
        with pytest.raises(ValueError, match="share of listeners above 0 and at most 1"):
            data.load_emotify(emotify, rule=rule)
    with pytest.raises(ValueError, match='"track" or "genre"'):
        data.load_emotify(emotify, group="artist")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (" calmness,", " calm,", "columns missing: 1 of 11, first: 'calmness'"),
        (
            "200,rock",
            "401,rock",
            "unreadable rows: 1 of 6, first: line 5: track id '401' is not 1 to 400",
        ),
        ("200,rock", "x,rock", "line 5: track id 'x'"),
        ("200,rock", "200,pop", "line 5: track 200 with the genre 'pop'"),
        ("classical,1,", "classical,7,", "line 2: a vote that is not 0 or 1"),
        ("classical,1,", "classical,1,0,", "rows with another number of fields than 17: 1 of 6"),
        (",English", ',"English', "line .* is not readable"),
        (" tension,", " sadness,", "columns that occur more than once: 1"),
    ],
)
def test_bad_emotify_files(emotify, old, new, said):
    replace_in(emotify / "data.csv", old, new)
    with pytest.raises(ValueError, match=said) as caught:
        data.load_emotify(emotify)
    assert str(emotify / "data.csv") in str(caught.value)


def test_missing_emotify_files(emotify):
    (emotify / "emotifymusic" / "pop" / "1.mp3").unlink()
    with pytest.raises(FileNotFoundError, match=r"emotify: 1 of 3 .* first: pop/1\.mp3; pass"):
        data.load_emotify(emotify)
    with pytest.warns(UserWarning, match="emotify: 1 of 3"):
        dataset = data.load_emotify(emotify, audio="skip")
    assert dataset.tracks["audio"].isna().tolist() == [False, False, True]
    (emotify / "data.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.csv: no such file"):
        data.load_emotify(emotify)


# -------------------------------------------------------------------------------- your own CSV


def test_folder_with_every_column(tmp_path):
    text = (
        "path, labels, split, group\n"
        "a.wav,Happy ; calming,train,Nina\n"
        'sub/b.wav,"calming;  deep,  dark",test,\n'
        "\n"
        f"{tmp_path / 'c.wav'},,,Nina\n"
    )
    table = write(tmp_path / "mine.csv", text)
    for name in ("a.wav", "sub/b.wav", "c.wav"):
        sound(tmp_path / name)
    dataset = data.load_folder(table)
    third = str(tmp_path / "c.wav")
    assert dataset.name == "mine"
    assert dataset.labels == ("calming", "deep, dark", "happy")
    assert labels_of(dataset) == {
        "a.wav": ("calming", "happy"),
        "sub/b.wav": ("calming", "deep, dark"),
        third: (),
    }
    assert dataset.tracks["split"].tolist() == ["train", "test", None]
    assert dataset.tracks["group"].tolist() == ["Nina", "sub/b.wav", "Nina"]
    assert dataset.tracks["audio"].tolist() == [
        str(tmp_path / name) for name in ("a.wav", "sub/b.wav", "c.wav")
    ]
    given_order = data.load_folder(table, labels=["happy", "Deep,  dark", "calming", "sad"])
    assert given_order.labels == ("happy", "deep, dark", "calming", "sad")
    assert labels_of(given_order)["a.wav"] == ("happy", "calming")
    json.dumps(dataset.source)


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_folder_separators(tmp_path, separator):
    table = write(tmp_path / "x.csv", f'path,labels\na.wav,"sad{separator} happy"\nb.wav,sad\n')
    with pytest.warns(UserWarning, match="2 of 2"):
        dataset = data.load_folder(table, name="own", audio="skip")
    assert dataset.name == "own"
    assert dataset.tracks["labels"].tolist() == [("happy", "sad"), ("sad",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a header and at least one row"),
        ("path,labels\n", "a header and at least one row"),
        ("file,labels\na.wav,sad\n", "columns missing from .*'file'.*: 1, first: 'path'"),
        ("path,labels,mood\na.wav,sad,1\n", "columns other than path, .*: 1, first: 'mood'"),
        (
            "path,labels\na.wav,sad,happy\n",
            "another number of fields than 2: 1 of 1, first: line 2",
        ),
        (
            "path,labels\na.wav,sad\nb.wav,sad\na.wav,fun\n",
            "paths that occur more than once: 1, first: 'a.wav'",
        ),
        ("path,labels\n,sad\n", "rows without a path: 1 of 1, first: line 2"),
        (
            "path,labels,split\na.wav,sad,valid\n",
            "splits other than .*: 1 of 1, first: line 2: 'valid'",
        ),
        ("path,labels\na.wav,\n", "no track has a label"),
    ],
)
def test_bad_folder_files(tmp_path, text, said):
    table = write(tmp_path / "mine.csv", text)
    with pytest.raises(ValueError, match=said) as caught:
        data.load_folder(table, audio="skip")
    assert str(table) in str(caught.value)


def test_folder_label_outside_the_vocabulary(tmp_path):
    table = write(tmp_path / "mine.csv", "path,labels\na.wav,sad\nb.wav,glad\n")
    with pytest.raises(ValueError, match=r"labels outside .* of 2: 1, first: 'glad'"):
        data.load_folder(table, labels=["sad", "happy"], audio="skip")


def test_a_csv_called_emotify_is_not_emotify(tmp_path):
    table = write(tmp_path / "emotify.csv", "path,labels\na.wav,sad\nb.wav,glad\nc.wav,odd\n")
    with pytest.warns(UserWarning, match="3 of 3"):
        dataset = data.load_folder(table, audio="skip")
    assert dataset.name == "emotify"
    assert evaluation.k_of(dataset) == 1


@pytest.mark.parametrize("top_k", [0, 3, 1.5])
def test_a_vote_gives_one_label_to_all(top_k):
    tracks = pd.DataFrame({"audio": [None], "labels": [("a",)], "split": [None], "group": ["g"]})
    assert Dataset("two", ("a", "b"), tracks, top_k=2).top_k == 2
    with pytest.raises(ValueError, match=r"two: .* top_k"):
        Dataset("two", ("a", "b"), tracks, top_k=top_k)


# ------------------------------------------------------------------------------------- Mulan


def arff(labels: list[str], features: list[str], rows: list[list[str]]) -> str:
    lines = ["@relation test", ""]
    lines += [f"@attribute {name} numeric" for name in features]
    lines += [f"@attribute {name} {{0,1}}" for name in labels]
    return "\n".join([*lines, "", "@data", *(",".join(row) for row in rows)]) + "\n"


def marsyas_columns(spell) -> list[str]:
    """The 64 columns in Mulan's order, spelled as one of its files does."""
    features = ["Centroid", "Rolloff", "Flux", *(f"MFCC{i}" for i in range(13))]
    statistics = [(a, b) for a in ("Mean", "Std") for b in ("Mean", "Std")]
    return [spell(a, b, feature) for a, b in statistics for feature in features]


def emotions_spelling(track: str, window: str, feature: str) -> str:
    return f"{track}_Acc1298_{window}_Mem40_{feature.replace('MFCC', 'MFCC_')}"


def cal500_spelling(track: str, window: str, feature: str) -> str:
    return (
        f"{track}_Acc1000_{window}_Mem40_{feature}_Power_powerFFT_WinHamming_HopSize512_WinSize512"
        "_AudioCh0"
    )


EMOTIONS = [label.official for label in VOCABULARIES["emotions"]]
CAL500_IN_MULAN = [label.official.replace("_/_", "-") for label in VOCABULARIES["cal500"]]
CAL500_IN_MULAN[0] = "Angry-Agressive"


def numbers(start: int, count: int) -> list[str]:
    return [str(start + i) for i in range(count)]


def write_emotions(path: Path, labels=EMOTIONS, last: str = "163") -> Path:
    features = [*marsyas_columns(emotions_spelling), "BH_LowPeakAmp", "BHSUM1"]
    rows = [
        [*numbers(0, 64), "9", "9", "1", "0", "0", "0", "0", "1"],
        [*numbers(100, 63), last, "9", "9", "0", "0", "1", "0", "0", "0"],
    ]
    return write(path, arff(labels, features, rows))


def test_mulan_emotions(tmp_path):
    path = write_emotions(tmp_path / "emotions.arff")
    dataset, features = data.load_mulan(path)
    assert (dataset.name, dataset.top_k) == ("emotions", 2)
    assert dataset.labels == names("emotions")
    assert labels_of(dataset) == {
        "emotions-001": ("amazed / surprised", "angry / aggressive"),
        "emotions-002": ("relaxing / calm",),
    }
    assert dataset.tracks["group"].tolist() == list(dataset.tracks.index)
    assert dataset.tracks["audio"].isna().all()
    assert dataset.tracks["split"].isna().all()
    assert features.values.shape == (2, 1, 64)
    assert features.values.dtype == np.float32
    np.testing.assert_array_equal(features.values[:, 0, 0], [0, 100])
    np.testing.assert_array_equal(features.values[0, 0], np.arange(64))
    assert features.track_index(dataset).tolist() == [0, 1]
    assert features.start.tolist() == [0, 0]
    assert features.encoder["name"] == "mulan-marsyas-64"
    assert features.encoder["layers"] == [0]
    assert features.encoder["columns"][:2] == ["mean-mean-centroid", "mean-mean-rolloff"]
    assert features.encoder["columns"][-1] == "std-std-mfcc12"
    assert features.encoder["files"] == dataset.source["files"] == {path.name: file_hash(path)}
    json.dumps([dataset.source, features.encoder])


def test_mulan_columns_are_found_by_meaning_not_by_place(tmp_path):
    """CAL500's columns shuffled, with zero crossings, NOT- twins and other words between."""
    features = [
        *marsyas_columns(cal500_spelling),
        "Mean_Acc1000_Mean_Mem40_ZeroCrossings_HopSize512",
    ]
    order = np.random.default_rng(0).permutation(len(features))
    labels = [
        name
        for label in CAL500_IN_MULAN
        for name in (f"NOT-Emotion-{label}", label, f"Vocals-{label}")
    ]
    on = {"Emotion-Laid-back-Mellow", "Angry-Agressive"}
    row = [str(i) for i in order] + [
        str(int(name in on or name.startswith(("NOT-", "Vocals-")))) for name in labels
    ]
    path = write(tmp_path / "x.arff", arff(labels, [features[i] for i in order], [row]))
    dataset, cut = data.load_mulan(path)
    assert dataset.top_k == 4
    assert dataset.name == "cal500"
    assert dataset.labels == names("cal500")
    assert labels_of(dataset) == {"cal500-001": ("angry / aggressive", "laid-back / mellow")}
    np.testing.assert_array_equal(cut.values[0, 0], np.arange(64))


def test_bad_mulan_files(tmp_path):
    path = tmp_path / "x.arff"
    features = marsyas_columns(emotions_spelling)
    cases = {
        "none of the 65 columns is an emotion label": arff(["Genre-Rock"], features, [["1"] * 65]),
        "label columns of emotions missing: 1 of 6, first: 'happy-pleased'": arff(
            [name for name in EMOTIONS if name != "happy-pleased"], features, [["1"] * 69]
        ),
        "several columns spell one label": arff(
            [*EMOTIONS, "Happy_Pleased"], features, [["1"] * 71]
        ),
        "columns missing: 2 of 64, first: 'mean-mean-centroid', 'std-std-mfcc12'": arff(
            EMOTIONS, features[1:-1], [["1"] * 68]
        ),
        "not an ARFF file with rows after": arff(EMOTIONS, features, []),
        "not an ARFF file with rows": "not an ARFF file at all\n",
        "rows without 70 values: 1 of 2, first: row 2: 20": arff(
            EMOTIONS, features, [["1"] * 70, ["1"] * 20]
        ),
        "not readable as ARFF .ValueError": arff(EMOTIONS, features, [["x"] * 70]),
    }
    for said, text in cases.items():
        write(path, text)
        with pytest.raises(ValueError, match=said) as caught:
            data.load_mulan(path)
        assert str(caught.value).startswith(str(path))
    write_emotions(path, last="?")
    with pytest.raises(
        ValueError, match=r"1 feature values .*row 2, column Std_Acc1298_Std.*MFCC_12"
    ):
        data.load_mulan(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        data.load_mulan(tmp_path / "absent.arff")


# ------------------------------------------------------------------------- splits and overview


def grouped(sizes: list[int]) -> Dataset:
    """A dataset with a group of each size, the tracks of a group spread over the table."""
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(0).permutation(len(groups))
    tracks = pd.DataFrame(
        {"audio": None, "labels": [("a",)] * len(groups), "split": None},
        index=pd.Index([f"t{i}" for i in order], name="track"),
    )
    return Dataset("test", ("a", "b"), tracks.assign(group=[groups[i] for i in order]))


FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=15, max_size=60), seed=st.integers(0, 1000))
def test_group_split_keeps_groups_together_and_fractions(sizes, seed):
    dataset = grouped(sizes)
    split = data.group_split(dataset, FRACTIONS, seed).tracks
    assert split.groupby("group")["split"].nunique().max() == 1
    for part, fraction in FRACTIONS.items():
        # Each end of a part is off by half a group of at most five at the most.
        assert abs((split["split"] == part).sum() - fraction * len(split)) <= 5
    shuffled = Dataset("test", ("a", "b"), dataset.tracks.sample(frac=1, random_state=seed))
    again = data.group_split(shuffled, FRACTIONS, seed).tracks["split"]
    assert again.to_dict() == split["split"].to_dict()


def test_group_split_is_decided_by_the_seed_and_recorded():
    dataset = grouped([1] * 40)
    splits = [data.group_split(dataset, FRACTIONS, seed) for seed in (0, 0, 1)]
    assert splits[0].tracks.equals(splits[1].tracks)
    assert not splits[0].tracks.equals(splits[2].tracks)
    assert splits[0].source["split"] == {"fractions": FRACTIONS, "seed": 0}
    assert dataset.tracks["split"].isna().all()
    counts = splits[0].tracks["split"].value_counts()
    assert counts.to_dict() == {"train": 24, "validation": 8, "test": 8}


@pytest.mark.parametrize(
    ("sizes", "fractions", "said"),
    [
        ([1] * 9, {"train": 0.5, "dev": 0.5}, "parts are train, validation, test"),
        ([1] * 9, {}, "parts are train"),
        ([1] * 9, {"train": 0.5, "test": 0.4}, "add up to 1"),
        ([1] * 9, {"train": 1.0, "test": 0.0}, "above 0"),
        ([9], {"train": 0.5, "test": 0.5}, "train gets no track: 9 tracks in 1 groups"),
        ([], {"train": 1.0}, "train gets no track: 0 tracks in 0 groups"),
    ],
)
def test_group_split_errors(sizes, fractions, said):
    with pytest.raises(ValueError, match=said):
        data.group_split(grouped(sizes), fractions, seed=0)


def test_describe(mtg, cal500):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = [
            data.load_mtg_jamendo(mtg, audio="skip"),
            data.load_cal500(cal500, "soft"),
        ]
    table = data.describe([*loaded, grouped([2, 1])])
    assert len(data.describe([loaded[0], loaded[0]])) == 2
    assert table.index.tolist() == ["mtg-jamendo", "cal500", "test"]
    assert table["tracks"].tolist() == [4, 3, 3]
    assert table["labels"].tolist() == [56, 18, 2]
    assert table["labels used"].tolist() == [5, 3, 1]
    assert table["labels a track"].tolist() == [1.25, 1, 1]
    assert table["without label"].tolist() == [0, 1, 0]
    assert table["groups"].tolist() == [3, 2, 2]
    assert table["with audio"].tolist() == [2, 3, 0]
    assert table.loc["mtg-jamendo", "hours"] == pytest.approx(715.7 / 3600)
    assert table.loc["cal500":, "hours"].isna().all()
    assert table["licence"].tolist()[1:] == ["none stated", "unknown"]


# -------------------------------------------------------------------------------- the real files


@pytest.mark.real_data
def test_real_mtg_jamendo(mtg_root):
    with pytest.warns(UserWarning, match="of 17982 audio files are missing"):
        dataset = data.load_mtg_jamendo(mtg_root, audio="skip")
    tracks = dataset.tracks
    assert tracks["split"].value_counts().to_dict() == {
        "train": 9_949,
        "validation": 3_802,
        "test": 4_231,
    }
    targets = dataset.targets()
    assert targets.shape == (17_982, 56)
    assert targets.any(axis=0).all()
    assert targets.any(axis=1).all()
    assert targets[tracks["split"] == "test"].sum(axis=1).mean() == pytest.approx(1.79, abs=0.005)
    assert tracks.groupby("group")["split"].nunique().max() == 1
    assert tracks["duration"].sum() / 3600 == pytest.approx(1095, abs=0.5)


@pytest.mark.real_data
def test_real_emotify(emotify_root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = data.load_emotify(emotify_root, audio="skip")
    assert len(dataset) == 400
    assert (dataset.targets().sum(axis=1) == 3).all()
    votes = (
        np.array(dataset.tracks["share"].tolist()) * dataset.tracks["listeners"].to_numpy()[:, None]
    )
    best_first = -np.sort(-votes.round(), axis=1)  # (tracks, labels)
    assert (best_first[:, 2] == best_first[:, 3]).sum() == 118
    assert dataset.tracks["genre"].value_counts().to_dict() == dict.fromkeys(
        ("classical", "rock", "electronic", "pop"), 100
    )
    assert dataset.tracks["audio"].notna().sum() == len(
        list((emotify_root / "emotifymusic").rglob("*.mp3"))
    )


@pytest.mark.real_data
def test_real_mulan(mulan_root):
    cal500, cal500_features = data.load_mulan(mulan_root / "CAL500.arff")
    emotions, emotions_features = data.load_mulan(mulan_root / "emotions.arff")
    assert (len(cal500), len(emotions)) == (502, 593)
    assert cal500.targets().sum(axis=1).mean() == pytest.approx(3.940, abs=0.001)
    assert emotions.targets().sum(axis=0).tolist() == [173, 166, 264, 148, 168, 189]
    assert cal500.tracks.index[0] == "cal500-001"
    assert emotions.tracks.index[-1] == "emotions-593"
    assert cal500_features.encoder["columns"] == emotions_features.encoder["columns"]
    # The same column means the same on the same scale in both files.
    means = [f.values[:, 0].mean(axis=0) for f in (cal500_features, emotions_features)]
    assert np.corrcoef(np.log(np.abs(means)))[0, 1] > 0.99


@pytest.mark.real_data
def test_no_absolute_path_in_the_sources(emotify_root, mulan_root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sources = [
            data.load_emotify(emotify_root, audio="skip").source,
            data.load_mulan(mulan_root / "emotions.arff")[0].source,
        ]
    assert not re.search(re.escape(str(emotify_root.parent)), json.dumps(sources))
