"""The page for songs: what it says and refuses, and one walk in a real browser."""

import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from playwright.sync_api import sync_playwright

from mer_utils import predict
from mer_utils.app import page, songs
from mer_utils.app.songs import Song
from mer_utils.batch import cli
from mer_utils.sound.acoustics import CUES
from mer_utils.sound.audio import AudioError

HOSTILE = '<img src=x onerror="alert(1)"> & .wav'
RATE = 16_000
ROOM = multiprocessing.get_context("fork")  # a spawned one takes seconds to import
needs_model = pytest.mark.skipif(
    not (predict.RELEASED / "config.json").is_file(), reason="no model in the package"
)


def write_song(path: Path, seconds: float, tones: tuple[float, ...], beats: int) -> Path:
    """A chord that is struck so many times a minute."""
    path.parent.mkdir(exist_ok=True)
    time = np.arange(int(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * tone * time) for tone in tones) / len(tones)
    soundfile.write(path, 0.5 * chord * np.exp(-8 * (time % (60 / beats))), RATE)
    return path


@pytest.fixture(scope="module")
def listener():
    return songs.load_listener()


@pytest.fixture(scope="module")
def heard(listener, tmp_path_factory) -> Song:
    """A song of 13 s with a hostile name, which was heard and ranked."""
    folder = tmp_path_factory.mktemp("visit")
    wave = write_song(folder / "wave.wav", 13, (220, 261.6, 329.6), 150).read_bytes()
    song = songs.place_song(folder / "0", HOSTILE, wave)
    songs.hear(song, listener.encoder)
    knows = (listener.model, listener.reference)
    song.prediction = predict.predict_song(*knows, song.features, ("happy", "gloomy"))
    return song


def values(html: str, tag: str, attribute: str) -> list[str]:
    """What an attribute of all tags of a kind says."""
    return [unescape(x) for x in re.findall(rf'<{tag}\b[^>]* {attribute}="(.*?)"', html, re.S)]


# --- Sentences


def test_ranks_in_words():
    told = {80: "more eerie than 8 of 10 songs", 100: "more eerie than nearly all songs"}
    told |= {31: "less eerie than 7 of 10 songs", 0: "less eerie than nearly all songs"}
    for rank, said in (told | {50: "more eerie than half of the songs"}).items():
        assert songs.compared(rank, "less eerie", "more eerie") == said


def test_words_are_bounded():
    assert songs.asked(" eerie, sad,, eerie ") == ("eerie", "sad")
    for wrong in (" , ", ",".join(map(str, range(13))), "x" * 41):
        with pytest.raises(ValueError, match=r"word|label"):
            songs.asked(wrong)


def test_the_scores_of_a_model_card():
    card = "| song ROC-AUC | one | two | new |\n| --- | --- | --- | --- |\n"
    card += "| ours | 0.716 [0.6, 0.8] | 0.61 | |\n| other | 0.9 | 0.9 | 0.9 |\n"
    assert songs.card_scores(card) == {"one": 0.716, "two": 0.61}
    assert songs.card_scores("no table") == {}


@needs_model
def test_cues_are_ranked_among_the_reference(listener, heard):
    ranks = songs.cue_ranks(listener, heard.features)
    assert set(ranks) == set(songs.COMPARED)
    cues, last = list(CUES), slice(-len(CUES), None)
    mean, std = (x.flatten()[last].numpy() for x in (listener.model.mean, listener.model.std))
    own = (heard.features.values[:, 0, last].mean(0) - mean) / std
    expected = 100 * (listener.reference.inputs[:, last] < own).mean(0)
    for cue, rank in ranks.items():
        assert rank == pytest.approx(expected[cues.index(cue)], abs=1)
    assert ranks["tempo"] > 50
    assert ranks["mode"] < 50, "a minor chord"


@needs_model
def test_a_song_has_its_sentences_its_curve_and_no_foreign_tag(listener, heard):
    assert heard.seconds == pytest.approx(13)
    html = songs.song_html(listener, heard, 3)
    styles = (Path(songs.__file__).parent / "page.css").read_text()
    looks = values(html, "polyline", "class")
    assert len({*looks}) == len(looks) > 1
    assert all(f".{look} " in styles or f".{look}," in styles for look in looks)
    assert "<img" not in html
    assert f"3. {HOSTILE}" in unescape(html)
    rank = heard.prediction.table.set_index("label")["rank"]["happy"]
    assert songs.compared(rank, "less happy", "more happy") in html
    curves = [np.array([p.split(",") for p in x.split()], float)
              for x in values(html, "polyline", "points")]  # fmt: skip
    assert len(curves) == 2
    times, heights = curves[0].T
    assert times.tolist() == [0, 4.5, 7.5, 8.5, 13]  # at 0, 3 and 4 s for 9 s each, and the ends
    expected = 100 - heard.prediction.over_time[heard.prediction.table["label"][0]]
    np.testing.assert_allclose(heights[1:-1], expected, atol=0.06)
    assert (heights[0], heights[-1]) == (heights[1], heights[-2])


@needs_model
def test_two_songs_side_by_side_and_the_nearest(listener, heard):
    table = pd.DataFrame({"label": ["happy", "gloomy"], "rank": [91.0, 11.0]})
    here = heard.prediction.projection
    far, near = (Song(x, Path(), Path("visit/0", x), features=heard.features) for x in "fn")
    far.prediction = SimpleNamespace(table=table, projection=-here)
    near.prediction = SimpleNamespace(table=table, projection=here + 0.01)
    bars = values(songs.pair_html(listener, far, near), "progress", "value")
    assert [float(bar) for bar in bars[:4]] == [91, 91, 11, 11]
    players = values(songs.near_html(heard, [far, heard, near]), "audio", "src")
    assert players == ["songs/visit/0/n", "songs/visit/0/f"]
    assert songs.near_html(heard, [heard, near]) == "", "the only other one is no news"


# --- What is refused


@pytest.mark.parametrize("name", ["../../x.mp3", "/etc/passwd", "\0", "..", "ä" * 300, "a\\b.exe"])
def test_an_upload_stays_in_its_folder(name, tmp_path):
    song = songs.place_song(tmp_path / "0", name, b"x")
    assert song.path.parent == tmp_path / "0"
    assert song.path.read_bytes() == b"x"
    assert (song.name, song.cache) == (name, None)
    assert song.url == f"songs/{tmp_path.name}/0/{song.path.name}"


@pytest.mark.parametrize(
    ("name", "content", "bound", "why"),
    [
        ("x.txt", "text", {}, ".mp3"),
        ("x.wav", b"RIFF", {}, "readable"),
        ("x.mp3", b"", {}, "empty"),
        ("x.wav", None, {"MOST_MINUTES": 0.01}, "minutes"),
        ("x.wav", None, {"MOST_MEGABYTES": 0.01}, "MB"),
    ],
)
def test_songs_that_cannot_be_used_say_why(name, content, bound, why, tmp_path, monkeypatch):
    wave = content or write_song(tmp_path / "wave.wav", 2, (440,), 60).read_bytes()
    song = songs.place_song(tmp_path / "0", name, wave if content is None else content)
    about = {"sample_rate": RATE, "segment_seconds": 9, "minimum_samples": RATE}
    for limit, most in bound.items():
        monkeypatch.setattr(songs, limit, most)
    with pytest.raises(AudioError, match=why) as raised:
        songs.hear(song, SimpleNamespace(**about, settings=dict))
    assert str(tmp_path) not in str(raised.value)


# --- A visit, without a browser


@needs_model
def test_a_visit_keeps_to_its_bound_and_one_bad_song_stops_no_other(
    listener, tmp_path, monkeypatch
):
    hear = songs.hear

    def break_on_one(song: Song, encoder) -> None:
        if song.name == "1 &.wav":
            raise RuntimeError("unforeseen")
        hear(song, encoder)

    monkeypatch.setattr(songs, "hear", break_on_one)
    monkeypatch.setattr(songs.storage, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(page, "MOST_SONGS", 3)
    given = [write_song(tmp_path / "music" / f"{x} &.wav", 1.5, (220,), 60) for x in range(4)]
    (tmp_path / "visit").mkdir()
    visit = page.Visit(listener, tmp_path / "visit")
    visit.path.value = str(tmp_path / "music")
    assert [song.name for song in visit.songs] == [path.name for path in given[:3]]
    assert [song.error for song in visit.songs] == ["", "unforeseen", ""]
    assert "3 songs" in visit.status.object
    assert visit.comparison.visible
    assert [select.value for select in visit.pair] == [0, 2]
    copies = [song.played.read_bytes() for song in visit.songs if not song.error]
    assert copies == [given[0].read_bytes(), given[2].read_bytes()]
    assert visit.songs[0].url.startswith("songs/visit/0/")
    assert list((tmp_path / "cache" / "songs").iterdir()), "features of files are kept"

    visit.asking.value = "sad, gloomy"
    assert set(visit.songs[0].prediction.table["label"]) == {"sad", "gloomy"}
    visit.asking.value = "x" * 50
    assert "50" in visit.status.object
    assert visit.words == ("sad", "gloomy"), "as before"

    visit.path.value = str(tmp_path / "<b>nowhere")
    assert visit.songs == [None] * 3
    assert "&lt;b&gt;nowhere" in visit.status.object
    assert not visit.comparison.visible


# --- The page in a browser


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The page, served by the command line; its folder of songs is gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(page, "_THREAD", ThreadPoolExecutor(1))  # a fork has no thread of before
    line = ["app", "--no-browser", "--port", str(port)]
    server = ROOM.Process(target=lambda: sys.exit(cli.main(line)))
    server.start()
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        assert list(tmp_path.glob("mer-songs-*"))
        os.kill(server.pid, signal.SIGTERM)
        server.join(20)
        assert server.exitcode == 0
    finally:
        server.kill()
    assert not list(tmp_path.glob("mer-songs-*"))


@pytest.fixture
def tab():
    """A tab of a browser."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium or google-chrome on this machine")
    flags = ["--no-sandbox", "--mute-audio", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


@needs_model
@pytest.mark.slow
def test_a_walk_through_the_page(address, tab, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    write_song(tmp_path / "one & <b>.wav", 3, (220, 261.6, 329.6), 150)
    write_song(tmp_path / "two.wav", 6, (440, 554.4, 659.3), 60)
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    tab.get_by_role("textbox", name="Words").fill("happy, sad")
    tab.keyboard.press("Enter")
    tab.locator("input[type=file]").set_input_files([*tmp_path.glob("*.wav")])
    tab.locator(".curve").nth(1).wait_for(timeout=60_000)
    tab.locator(".error").wait_for()
    assert "broken.wav" in tab.locator(".error").inner_text()
    for said in ("one & <b>.wav", "two.wav"):
        article = tab.get_by_role("article", name=said)
        assert article.locator("polyline").count() == 2
        sentences = article.locator("li").all_inner_texts()
        assert sorted(text.split(" than ")[0].split()[1] for text in sentences) == ["happy", "sad"]
    assert tab.locator("td progress").count() == 2 * (2 + len(songs.COMPARED))

    player, cursor = article.locator("audio"), article.locator("input[type=range]")
    assert float(cursor.input_value()) == 0
    player.evaluate("audio => audio.play()")
    # the cursor follows the sound
    tab.wait_for_function("cursor => cursor.value > 0.2", arg=cursor.element_handle())
    player.evaluate("audio => audio.pause()")
    box = cursor.bounding_box()
    cursor.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert player.evaluate("audio => audio.currentTime") == pytest.approx(3, abs=0.3)
    cursor.press("ArrowRight")
    assert player.evaluate("audio => audio.currentTime") > 3.01

    article.get_by_role("checkbox").first.uncheck()
    assert article.locator("polyline:not([hidden])").count() == 1
    for width in (1200, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": "http://elsewhere.example",
    }
    assert tab.request.get(f"{address}/ws", headers=upgrade).status == 403
