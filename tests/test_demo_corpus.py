"""The built-in corpus: cues in score and sound, labels, determinism, cache, oracle, errors."""

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from sklearn.metrics import roc_auc_score

from mer_utils import data, storage
from mer_utils.corpus import composer, demo, notation, styles, synthesizer
from mer_utils.corpus.composer import Point, compose, draw_artist
from mer_utils.corpus.notation import facts
from mer_utils.corpus.styles import STYLES
from mer_utils.sound import audio

NAMES = tuple(demo.DEMO_DATASETS)
SIZE = 10


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All three datasets, rendered small."""
    folder = tmp_path_factory.mktemp("demo")
    return {name: demo.build(name, SIZE, seed=3, folder=folder) for name in NAMES}


@pytest.fixture(scope="module")
def sounds(built):
    """Every clip's samples: {dataset: [(samples,), …]}."""
    clips = {}
    for name, dataset in built.items():
        read = [soundfile.read(path, dtype="float32") for path in dataset.tracks["audio"]]
        assert {rate for _, rate in read} == {24_000}
        clips[name] = [samples for samples, _ in read]
    return clips


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Many pieces as they are composed, without sound: facts and hidden point, per dataset."""
    rows = []
    for name, spec in demo.DEMO_DATASETS.items():
        for piece in demo.plan(name, 60, seed=1):
            random = np.random.default_rng(piece.seed)
            score = compose(piece.point, spec.style, piece.artist, random)
            rows.append({"dataset": name, **vars(piece.point), **facts(score)})
    return pd.DataFrame(rows)


def composed(style, seed, *point):
    """A piece of an artist of its own."""
    random = np.random.default_rng(seed)
    artist = draw_artist(STYLES[style], random)
    return compose(Point(*point), STYLES[style], artist, random)


def part(role, program, notes, detune=0.0):
    """A part of notes (start, duration, pitch)."""
    return notation.Part(role, program, 0.0, detune, tuple(notation.Note(*n, 100) for n in notes))


def labels_a_track(spec: demo.DemoDataset) -> float:
    """Expected number of labels of a track."""
    return float(np.dot(spec.label_shares, np.arange(1, len(spec.label_shares) + 1)))


def correlation(one, other, groups) -> float:
    """Within each dataset, so that the datasets' own ranges do not count."""
    by = pd.DataFrame({"one": np.asarray(one), "other": np.asarray(other)}).groupby(list(groups))
    return by.transform(lambda column: (column - column.mean()) / column.std()).corr().iloc[0, 1]


# --- the cues, in the score


def test_score_quantities_move_with_the_hidden_point(scores):
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
            found = np.corrcoef(table[quantity], table[dimension])[0, 1]
            assert least < found < most, f"{name}: {quantity} and {dimension}: {found:.2f}"
        assert 0.3 < table["major"].mean() < 0.7, name
    # Register rises with arousal too, but less; dissonance is low where it is pleasant.
    groups = scores["dataset"]
    with_arousal = correlation(scores["pitch"], scores["arousal"], groups)
    assert 0.05 < with_arousal < correlation(scores["pitch"], scores["valence"], groups)
    assert correlation(scores["dissonance"], scores["valence"], groups) < -0.2


def test_no_cue_is_a_copy_of_the_point(scores):
    cues = [f"cue_{name}" for name in composer.CUE_WEIGHTS]
    assert (
        scores[[*cues, *demo.DIMENSIONS]].corr().loc[cues, demo.DIMENSIONS].abs().max().max() < 0.95
    )


def test_tempi_differ_between_datasets(scores):
    tempo = scores.groupby("dataset")["tempo"].mean()
    assert tempo["demo-cal500"] > tempo["demo-mtg"] > tempo["demo-emotify"]


def test_struck_instruments_go_with_valence():
    struck = dict.fromkeys((-0.8, 0.8), 0)
    for valence in struck:
        for seed in range(40):
            parts = {x.role: x for x in composed("chamber", seed, valence, 0.0, 0.0).parts}
            struck[valence] += parts["melody"].program in STYLES["chamber"].palette["melody struck"]
    assert struck[0.8] > 30 > 10 > struck[-0.8]


# --- the composer


@settings(deadline=None, max_examples=40)
@given(
    valence=st.floats(-1, 1),
    arousal=st.floats(-1, 1),
    tension=st.floats(-1, 1),
    style=st.sampled_from(sorted(STYLES)),
    seed=st.integers(0, 10_000),
)
def test_any_point_gives_a_playable_score(valence, arousal, tension, style, seed):
    score = composed(style, seed, valence, arousal, tension)
    assert 20 <= score.seconds <= 30
    assert {"melody", "chords", "bass"} <= {part.role for part in score.parts}
    for part in score.parts:
        assert part.notes
        role = "kit" if part.role == "drums" else part.role
        allowed = [p for key, p in STYLES[style].palette.items() if key.startswith(role)]
        assert part.program in sum(allowed, ())
        for note in part.notes:
            assert 0 <= note.start < note.start + note.duration <= score.seconds + 1e-9
            assert 0 < note.pitch < 128
            assert 20 <= note.velocity <= 127


def test_chords_and_melody_keep_to_the_scale_when_nothing_is_tense():
    inside = []
    for seed in range(20):
        score = composed("chamber", seed, 0.8, 0.0, -1.0)
        steps = styles.SCALES[score.scale][2]
        pitches = [n.pitch for x in score.parts if x.role != "drums" for n in x.notes]
        inside += [(pitch - score.tonic) % 12 in steps for pitch in pitches]
    assert np.mean(inside) > 0.97


def test_voices_lead_smoothly():
    random = np.random.default_rng(0)
    cues = dict.fromkeys(composer.CUE_WEIGHTS, 0.0) | {"dissonance": -1.0}
    for _ in range(10):
        plan = composer._plan(cues, STYLES["band"], random)
        voicings = composer._voicings(plan, 60)
        for chord, voicing in zip(plan.chords, voicings, strict=True):
            assert {pitch % 12 for pitch in voicing} == set(chord.pitch_classes)
        moves = np.abs(np.diff([voicing[-1] for voicing in voicings]))
        assert moves.mean() < 4
        assert moves.max() <= 9


@pytest.mark.parametrize(
    ("pitches", "expected"),
    [((60, 64, 67), 0), ((60, 64, 67, 71), 1 / 6), ((60, 61), 1), ((60,), 0)],
)
def test_dissonance_of_known_chords(pitches, expected):
    held = part("chords", 0, [(0.0, 2.0, pitch) for pitch in pitches])
    score = notation.Score((held,), 2.0, 120, 4, 0, "major", {})
    assert notation.dissonance(score) == pytest.approx(expected)


def test_facts_of_a_score_by_hand():
    melody = part("melody", 0, [(float(i), 0.25, 72 + i) for i in range(4)])
    bass = part("bass", 32, [(0.0, 4.0, 36)])
    found = facts(notation.Score((melody, bass), 4.0, 60.0, 4, 9, "minor", {"tempo": 0.5}))
    expected = {
        "key": "A minor",
        "mode": "minor",
        "notes_a_second": 5 / 4,
        "pitch": 73.5,  # the bass does not count
        "detachment": 0.75,
        "cue_tempo": 0.5,
    }
    assert expected.items() <= found.items()
    json.dumps(found, allow_nan=False)


# --- the sound


def test_no_clip_is_silent_or_clipped(built, sounds):
    for name, clips in sounds.items():
        for samples, seconds in zip(clips, built[name].tracks["seconds"], strict=True):
            assert samples.ndim == 1
            assert len(samples) == pytest.approx(seconds * 24_000, abs=24)
            assert np.isfinite(samples).all()
            assert 0.05 < np.abs(samples).max() < 0.98
            blocks = samples[: len(samples) // 24_000 * 24_000].reshape(-1, 24_000)
            assert np.sqrt((blocks**2).mean(axis=1)).min() > 1e-4, "a second of silence"


def log_centroid(samples) -> float:
    frequency, power = signal.welch(samples, 24_000, nperseg=2048)
    return float(np.log(frequency @ power / power.sum()))


def onset_strength(samples) -> float:
    _, _, spectrum = signal.stft(samples, 24_000, nperseg=1024, noverlap=512)
    level = np.log(np.abs(spectrum) ** 2 + 1e-8)
    return float(np.maximum(np.diff(level, axis=1), 0).mean())


@pytest.mark.parametrize(
    ("measure", "least"), [(audio.loudness, 0.65), (log_centroid, 0.25), (onset_strength, 0.5)]
)
def test_the_sound_moves_with_arousal(built, sounds, measure, least):
    tracks = pd.concat([built[name].tracks.assign(dataset=name) for name in sounds])
    measured = [measure(samples) for clips in sounds.values() for samples in clips]
    assert correlation(measured, tracks["arousal"], tracks["dataset"]) > least


def test_datasets_differ_in_loudness(sounds):
    level = {name: np.mean([audio.loudness(s) for s in clips]) for name, clips in sounds.items()}
    assert level["demo-emotify"] + 1 < level["demo-mtg"] < level["demo-cal500"] - 0.5


def test_dissonance_cue_makes_the_sound_beat():
    """A lone detuned part swells and fades; the same part in tune does not."""
    synth, font = synthesizer._load_synth()

    def swing(detune):
        ocarina = part("melody", 79, [(0.0, 3.0, 69)], detune)  # nearly a sine
        samples = synthesizer._play_part(ocarina, synth, font, 72_000)[24_000:60_000]
        envelope = np.sqrt((samples.reshape(-1, 1200) ** 2).mean(axis=1))
        return envelope.std() / envelope.mean()

    assert swing(12.0) > 3 * swing(0.0)


def measured(program, synth, font) -> tuple[float, float]:
    """Spectral centroid in multiples of the pitch, and when in a note of 1.5 s its energy comes."""
    brightness, middle = [], []
    for pitch in (52, 60, 67, 76):
        alone = part("melody", program, [(0.0, 1.5, pitch)])
        samples = synthesizer._play_part(alone, synth, font, 36_000)
        power = np.abs(np.fft.rfft(samples[:24_000])) ** 2  # 1 Hz a bin
        pitch_hz = 440 * 2 ** ((pitch - 69) / 12)
        brightness.append(np.arange(len(power)) @ power / power.sum() / pitch_hz)
        energy = samples**2
        middle.append(np.arange(len(energy)) @ energy / energy.sum() / len(energy))
    return float(np.median(brightness)), float(np.mean(middle))


def test_palettes_are_ordered_as_the_sound_font_sounds():
    """From dark to bright; what is called struck has sounded most of its energy early."""
    synth, font = synthesizer._load_synth()
    found = {}
    for style in STYLES.values():
        for key, programs in style.palette.items():
            if key != "kit":
                for program in programs:
                    found.setdefault(program, measured(program, synth, font))
                brightness = [found[program][0] for program in programs]
                assert all(np.diff(brightness) > -0.05), f"{style.name} {key}: {brightness}"
            if key.endswith(("struck", "held")):
                for program in programs:
                    late = found[program][1] > 0.34
                    assert late == key.endswith("held"), f"{style.name} {key}: {program}"


def test_shelf_raises_the_treble_only():
    random = np.random.default_rng(0)
    noise = random.standard_normal(240_000)
    frequency, before = signal.welch(noise, 24_000, nperseg=4096)
    _, after = signal.welch(synthesizer._shelf(noise, 6.0), 24_000, nperseg=4096)
    gain = 10 * np.log10(after / before)
    assert gain[(frequency > 20) & (frequency < 150)].mean() == pytest.approx(0, abs=0.3)
    assert gain[frequency > 9000].mean() == pytest.approx(6, abs=0.3)


def test_limiter_leaves_quiet_samples_alone_and_keeps_order():
    loud = np.linspace(-5, 5, 1001)
    bent = synthesizer._limited(loud)
    quiet = np.abs(loud) <= 0.6
    np.testing.assert_array_equal(bent[quiet], loud[quiet])
    assert (np.diff(bent) >= 0).all()
    assert np.abs(bent).max() <= synthesizer.PEAK


# --- labels


def test_vocabularies_are_the_real_ones():
    specs = demo.DEMO_DATASETS
    assert specs["demo-cal500"].labels == data.names("cal500")
    assert specs["demo-emotify"].labels == data.names("emotify")
    assert set(specs["demo-mtg"].labels) < set(data.names("mtg-jamendo"))
    assert len(specs["demo-mtg"].labels) == 29
    assert {label for spec in specs.values() for label in spec.labels} == set(demo.LABEL_POSITIONS)
    assert np.abs(list(demo.LABEL_POSITIONS.values())).max() <= 1


@pytest.mark.parametrize(
    ("name", "mean"), [("demo-mtg", 1.79), ("demo-cal500", 4.9), ("demo-emotify", 3.0)]
)
def test_labels_a_track(name, mean):
    spec, pieces = demo.DEMO_DATASETS[name], demo.plan(name, 150, seed=0)
    assert sum(spec.label_shares) == pytest.approx(1)
    assert labels_a_track(spec) == pytest.approx(mean, abs=0.01)
    counts = [len(piece.labels) for piece in pieces]
    assert np.mean(counts) == pytest.approx(mean, abs=0.1)
    assert min(counts) >= (3 if name == "demo-emotify" else 1)
    assert {label for piece in pieces for label in piece.labels} == set(spec.labels)


# --- the oracle


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


def test_inclusion_probabilities_equal_enumeration():
    weights = np.array([0.55, 0.25, 0.15, 0.0499, 0.0001])
    for count in (1, 2, 3, 5):
        shares = [0.0] * (count - 1) + [1.0]
        found = demo.inclusion_probabilities(weights, shares)
        np.testing.assert_allclose(found, by_enumeration(weights, count), atol=2e-6)
    mixed = demo.inclusion_probabilities(weights, [0.5, 0.2, 0.3])
    parts = [0.5 * by_enumeration(weights, 1), 0.2 * by_enumeration(weights, 2)]
    np.testing.assert_allclose(mixed, sum(parts) + 0.3 * by_enumeration(weights, 3), atol=2e-6)


def test_oracle_is_calibrated_and_far_from_chance():
    """Over many tracks the oracle's probabilities are the frequencies of the drawn labels."""
    for name, spec in demo.DEMO_DATASETS.items():
        pieces = demo.plan(name, 200, seed=5)
        table = pd.DataFrame([vars(piece) | vars(piece.point) for piece in pieces])
        table = table.assign(audio=None).set_index("track")
        dataset = data.Dataset(name, spec.labels, table)
        scores, targets = demo.oracle_scores(dataset), dataset.targets()
        assert scores.shape == targets.shape
        np.testing.assert_allclose(scores.sum(axis=1), labels_a_track(spec), atol=1e-4)
        np.testing.assert_allclose(scores.mean(axis=0), targets.mean(axis=0), atol=0.1)
        for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1)):
            cell = (scores >= low) & (scores < high)
            if cell.sum() > 100:
                assert targets[cell].mean() == pytest.approx(scores[cell].mean(), abs=0.06)
        used = targets.any(axis=0)
        area = roc_auc_score(targets[:, used], scores[:, used])
        assert 0.8 < area < 0.97, name  # good, and not perfect


def test_oracle_refuses_other_datasets(built):
    known = built["demo-mtg"]
    blind = known.tracks.drop(columns="tension")
    for other in (replace(known, name="emotify"), replace(known, tracks=blind)):
        with pytest.raises(ValueError, match=other.name):
            demo.oracle_scores(other)


# --- datasets, splits, files


@pytest.mark.parametrize("name", NAMES)
def test_dataset_has_what_is_promised(built, name):
    dataset, tracks = built[name], built[name].tracks
    assert dataset.name == name
    assert dataset.top_k == {"demo-mtg": 2, "demo-cal500": 4, "demo-emotify": 3}[name]
    assert len(dataset) == SIZE
    assert set(tracks["split"]) == {"train", "validation", "test"}
    assert len(tracks[["group", "split"]].drop_duplicates()) == len(set(tracks["group"]))
    assert tracks[list(demo.DIMENSIONS)].abs().max().max() <= 1
    home = Path(tracks["audio"].iloc[0]).parents[1]
    table = pd.read_csv(home / "tracks.csv", index_col="track")
    assert [str(home / path) for path in table["audio"]] == tracks["audio"].tolist()
    assert table["labels"].tolist() == tracks["labels"].str.join(" | ").tolist()
    np.testing.assert_allclose(table["valence"], tracks["valence"])
    about = storage.read_json(home / "corpus.json")
    assert about == json.loads(json.dumps(dataset.source))
    assert about["seed"] == 3
    assert "synthetic" in about["kind"]


def test_groups_of_five_share_artist_and_production():
    pieces = pd.DataFrame([vars(piece) for piece in demo.plan("demo-cal500", 150, seed=0)])
    pieces["heard"] = pieces["artist"].map(repr) + pieces["production"].map(repr)
    by_group = pieces.groupby("group")
    assert set(by_group.size()) == {5}
    assert set(by_group["heard"].nunique()) == {1}
    assert pieces["heard"].nunique() == 30
    share = pieces["split"].value_counts(normalize=True)
    assert share.to_dict() == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2})


@pytest.mark.parametrize("size", [6, 7, 12, 29, 30])
def test_every_size_has_all_splits(size):
    pieces = demo.plan("demo-mtg", size, seed=0)
    assert len({piece.track for piece in pieces}) == size
    assert {piece.split for piece in pieces} == {"train", "validation", "test"}


def test_points_fill_the_space_and_tension_leans():
    pieces = demo.plan("demo-mtg", 150, seed=0)
    points = np.array([[*vars(piece.point).values()] for piece in pieces])  # (150, 3)
    for quadrant in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert (np.sign(points[:, :2]) == quadrant).all(axis=1).sum() > 20
    assert points.std(axis=0).min() > 0.45
    assert np.corrcoef(points[:, 0], points[:, 2])[0, 1] < -0.2


def test_same_seed_same_bytes_in_any_process(built):
    """What worker processes wrote is what this process plays, byte for byte."""
    for name, spec in demo.DEMO_DATASETS.items():
        piece = demo.plan(name, SIZE, seed=3)[SIZE // 2]
        played, _ = synthesizer.play(
            piece.point, spec.style, piece.artist, piece.production, piece.seed
        )
        assert Path(built[name].tracks.loc[piece.track, "audio"]).read_bytes() == played
        assert demo.plan(name, SIZE, seed=4)[SIZE // 2].point != piece.point


def test_a_stopped_run_keeps_what_is_done(tmp_path, monkeypatch):
    """Stopped in the third piece: two are there, whole; the next run does the other four."""

    def build():
        return demo.build("demo-cal500", 6, seed=0, folder=tmp_path, workers=1)

    def written():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}

    real, played = soundfile.write, []

    def stopping(*arguments, **named):
        played.append(arguments)
        if len(played) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(soundfile, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        build()
    stopped = written()
    assert len(stopped) == 2
    first = build()
    assert len(played) == 3 + 4
    assert stopped.items() < written().items()
    lost = Path(first.tracks["audio"].iloc[2])
    before, whole = lost.read_bytes(), written()
    lost.unlink()
    pd.testing.assert_frame_equal(first.tracks, build().tracks)
    assert lost.read_bytes() == before
    assert len(played) == 3 + 4 + 1  # only what is missing is played
    assert {path for path, time in written().items() if time != whole[path]} == {lost}
    assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.rglob("*.tmp"))
    lost.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=rf"{lost.stem}\.json"):
        build()


def test_settings_have_their_own_folders():
    spec = demo.DEMO_DATASETS["demo-mtg"]
    hashes = {
        storage.settings_hash(demo._settings(spec, demo.plan("demo-mtg", size, seed), size, seed))
        for size, seed in ((6, 0), (7, 0), (6, 1))
    }
    assert len(hashes) == 3


# --- errors


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "demo-mulan"}, "demo-mulan.*demo-mtg"),
        *(({"size": size}, f"size is {size!r}.* 6 ") for size in (5, 0, -3, 12.0, "12")),
        *(({"seed": seed}, f"seed is {seed}") for seed in (-1, 0.5, None)),
        *(({"workers": workers}, f"workers is {workers}") for workers in (0, -1, 1.5)),
    ],
)
def test_bad_arguments_are_named(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        demo.build(**{"name": "demo-mtg", "size": 12, "seed": 0, "folder": tmp_path} | changes)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_mend(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "files", absent)
        with pytest.raises(ModuleNotFoundError, match=r"TimGM6mb\.sf2 .*-r no-deps\.txt"):
            synthesizer.find_sound_font()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"tinysoundfont .*-r no-deps\.txt"):
            synthesizer.find_sound_font()
    assert synthesizer.find_sound_font().name == "TimGM6mb.sf2"


def test_workers_import_neither_torch_nor_pretty_midi():
    """What a worker process imports stays light: it starts in under a second."""
    program = (
        "import sys, mer_utils.corpus.synthesizer as s; s._load_synth(); "
        "print(sorted({'torch', 'pandas', 'pretty_midi'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
