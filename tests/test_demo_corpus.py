"""The built-in corpus: cues in score and sound, labels, oracle, files that follow from a seed."""

import io
from importlib import metadata
from itertools import permutations
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mer_utils import data, storage
from mer_utils.corpus import composer, demo, notation, synthesizer
from mer_utils.corpus.styles import STYLES
from mer_utils.sound import audio

SIZE = 6


def composed(style, seed, *point):
    """A piece of an artist of its own."""
    random = np.random.default_rng(seed)
    artist = composer.draw_artist(STYLES[style], random)
    return composer.compose(composer.Point(*point), STYLES[style], artist, random)


# --- the score


def test_score_quantities_move_with_the_hidden_point():
    rows = []
    for name, spec in demo.DEMO_DATASETS.items():
        for piece in demo.plan(name, 30, seed=1):
            random = np.random.default_rng(piece.seed)
            score = composer.compose(piece.point, spec.style, piece.artist, random)
            rows.append({"dataset": name, **vars(piece.point), **notation.facts(score)})
    scores = pd.DataFrame(rows)
    scores["major"] = (scores["mode"] == "major").astype(float)
    wanted = [
        ("tempo", "arousal", 0.7, 1),
        ("notes_a_second", "arousal", 0.6, 1),
        ("detachment", "arousal", 0.45, 1),
        ("pitch", "valence", 0.6, 1),
        ("dissonance", "tension", 0.6, 1),
        ("major", "valence", 0.5, 1),
        ("major", "arousal", -0.3, 0.3),
    ]
    for name, table in scores.groupby("dataset"):
        for quantity, dimension, least, most in wanted:
            found = table[quantity].corr(table[dimension])
            assert least < found < most, f"{name}: {quantity} and {dimension}: {found:.2f}"
        assert 0.3 < table["major"].mean() < 0.7, name
    tempo = scores.groupby("dataset")["tempo"].mean()
    assert tempo["demo-cal500"] > tempo["demo-mtg"] > tempo["demo-emotify"]
    cues = [f"cue_{name}" for name in composer.CUE_WEIGHTS]
    copied = scores[[*cues, *demo.DIMENSIONS]].corr().loc[cues, demo.DIMENSIONS].abs()
    assert copied.max().max() < 0.95  # no cue is the point itself


@settings(deadline=None, max_examples=30)
@given(
    point=st.tuples(*[st.floats(-1, 1)] * 3),
    style=st.sampled_from(sorted(STYLES)),
    seed=st.integers(0, 10_000),
)
def test_any_point_gives_a_playable_score(point, style, seed):
    score = composed(style, seed, *point)
    assert 20 <= score.seconds <= 30
    assert {"melody", "chords", "bass"} <= {part.role for part in score.parts}
    for part in score.parts:
        role = "kit" if part.role == "drums" else part.role
        palette = STYLES[style].palette.items()
        assert any(part.program in own for key, own in palette if key.startswith(role))
        assert part.notes
        for note in part.notes:
            assert 0 <= note.start < note.start + note.duration <= score.seconds + 1e-9
            assert 0 < note.pitch < 128
            assert 20 <= note.velocity <= 127


# --- the sound


@pytest.mark.parametrize("name", list(demo.DEMO_DATASETS))
def test_the_sound_moves_with_arousal_and_is_neither_silent_nor_clipped(name):
    piece, style = demo.plan(name, SIZE, seed=3)[0], demo.DEMO_DATASETS[name].style
    loudness = []
    for arousal in (-0.6, 0.6):
        place = composer.Point(0.2, arousal, 0.5)
        sound, facts = synthesizer.play(place, style, piece.artist, piece.production, piece.seed)
        samples, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
        assert (rate, len(samples)) == (24_000, pytest.approx(facts["seconds"] * 24_000, abs=24))
        assert 0.05 < np.abs(samples).max() < 0.98
        seconds = samples[: len(samples) // 24_000 * 24_000].reshape(-1, 24_000)
        assert np.sqrt((seconds**2).mean(axis=1)).min() > 1e-4, "a second of silence"
        loudness.append(audio.loudness(samples))
    assert loudness[0] + 3 < loudness[1] < loudness[0] + 20  # dB


def test_a_note_sounds_from_its_start_to_its_end(monkeypatch):
    notes = (notation.Note(1, 1, 60, 100), notation.Note(6, 5, 60, 100))
    horn, cues = notation.Part("melody", 60, 0, 0, notes), dict.fromkeys(composer.CUE_WEIGHTS, 0.0)
    score = notation.Score(cues, STYLES["chamber"], 120, 4, 6, 0, "major", parts=(horn,))
    monkeypatch.setattr(composer, "compose", Mock(return_value=score))
    dry = synthesizer.Production(-20, 0, 0, 0, 0.1, -60, None, 0, 0)
    sound, _ = synthesizer.play(composer.Point(0, 0, 0), score.style, None, dry, (0,))
    seconds = soundfile.read(io.BytesIO(sound))[0][: 12 * 24_000].reshape(12, -1)
    level = np.sqrt((seconds**2).mean(axis=1))
    assert np.flatnonzero(level > level.max() / 2).tolist() == [1, 6, 7, 8, 9, 10]


# --- labels and the oracle


@pytest.mark.parametrize(
    ("name", "mean"), [("demo-mtg", 1.79), ("demo-cal500", 4.9), ("demo-emotify", 3.0)]
)
def test_labels_and_splits_are_as_in_the_real_datasets(name, mean):
    spec, pieces = demo.DEMO_DATASETS[name], demo.plan(name, 150, seed=0)
    real = data.names({"demo-mtg": "mtg-jamendo"}.get(name, name.removeprefix("demo-")))
    assert set(spec.labels) <= set(real)
    assert len(spec.labels) == (29 if name == "demo-mtg" else len(real))
    assert sum(spec.label_shares) == pytest.approx(1)
    assert np.mean([len(piece.labels) for piece in pieces]) == pytest.approx(mean, abs=0.1)
    assert {label for piece in pieces for label in piece.labels} == set(spec.labels)
    table = pd.DataFrame([vars(piece) for piece in pieces])
    table["heard"] = table["artist"].map(repr) + table["production"].map(repr)
    assert set(table.groupby(["group", "heard", "split"]).size()) == {5}
    assert table["group"].nunique() == table["heard"].nunique() == 30
    assert table["split"].value_counts().to_dict() == {"train": 90, "validation": 30, "test": 30}


def by_enumeration(weights, count) -> np.ndarray:
    """Chance of each label to be among the first `count`, over all orders: for few labels."""
    chance = np.zeros(len(weights))
    for order in permutations(range(len(weights)), count):
        left, probability = 1.0, 1.0
        for label in order:
            probability *= weights[label] / left
            left -= weights[label]
        chance[list(order)] += probability
    return chance


@pytest.mark.parametrize("shares", [[1], [0, 0, 0, 0, 1], [0.5, 0.2, 0.3]])
def test_inclusion_probabilities_equal_enumeration(shares):
    weights = np.array([0.55, 0.25, 0.15, 0.0499, 0.0001])
    expected = sum(share * by_enumeration(weights, i + 1) for i, share in enumerate(shares))
    np.testing.assert_allclose(demo.inclusion_probabilities(weights, shares), expected, atol=2e-6)


def test_oracle_is_calibrated_and_far_from_chance():
    """Over many tracks the oracle's probabilities are the frequencies of the drawn labels."""
    spec = demo.DEMO_DATASETS["demo-cal500"]
    table = pd.DataFrame([vars(x) | vars(x.point) for x in demo.plan(spec.name, 200, seed=5)])
    dataset = data.Dataset(spec.name, spec.labels, table.assign(audio=None).set_index("track"))
    scores, targets = demo.oracle_scores(dataset), dataset.targets()
    expected = np.dot(spec.label_shares, np.arange(1, len(spec.label_shares) + 1))
    np.testing.assert_allclose(scores.sum(axis=1), expected, atol=1e-4)
    np.testing.assert_allclose(scores.mean(axis=0), targets.mean(axis=0), atol=0.1)
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1)):
        cell = (scores >= low) & (scores < high)
        if cell.sum() > 100:
            assert targets[cell].mean() == pytest.approx(scores[cell].mean(), abs=0.06)
    assert 0.8 < roc_auc_score(targets, scores) < 0.97  # good, and not perfect


# --- files


def test_a_stopped_run_keeps_what_is_done_and_a_whole_corpus_is_only_read(tmp_path, monkeypatch):
    """Stopped in the third piece: two are there, whole; the next run does the other four."""
    play = Mock(side_effect=[(b"1", {"seconds": 1}), (b"2", {"seconds": 2}), KeyboardInterrupt])
    monkeypatch.setattr(synthesizer, "play", play)

    def build():
        return demo.build("demo-cal500", SIZE, seed=0, folder=tmp_path).tracks

    with pytest.raises(KeyboardInterrupt):
        build()
    assert len(list(tmp_path.rglob("*.flac"))) == 2
    play.side_effect = [(b"n", {"seconds": number}) for number in (3, 4, 5, 6)]
    first = build()
    assert first["seconds"].tolist() == [1, 2, 3, 4, 5, 6]
    assert not list(tmp_path.rglob("*.tmp"))
    with monkeypatch.context() as patch:
        for name in ("locked", "replacing"):
            patch.setattr(storage, name, lambda *_: pytest.fail("writes"))
        pd.testing.assert_frame_equal(build(), first)
    damaged = next(tmp_path.rglob("*-0002.json"))
    damaged.write_text("{")
    with pytest.raises(ValueError, match=damaged.name):
        build()


def test_same_seed_same_bytes(tmp_path):
    dataset = demo.build("demo-mtg", SIZE, seed=3, folder=tmp_path)
    piece, style = demo.plan("demo-mtg", SIZE, seed=3)[5], demo.DEMO_DATASETS["demo-mtg"].style
    sound, facts = synthesizer.play(piece.point, style, piece.artist, piece.production, piece.seed)
    track = dataset.tracks.iloc[5]
    assert Path(track["audio"]).read_bytes() == sound
    assert {name: track[name] for name in facts} == facts
    about = storage.read_json(Path(track["audio"]).parents[1] / "corpus.json")
    assert about["pieces"] == dataset.source["pieces"]


@pytest.mark.parametrize("look_up", ["files", "version"])
def test_a_missing_package_is_named_with_its_mend(monkeypatch, look_up):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, look_up, absent)
    with pytest.raises(ModuleNotFoundError, match=r"TimGM6mb\.sf2.*no-deps\.txt"):
        synthesizer.find_sound_font()
