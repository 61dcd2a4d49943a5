"""The page itself: its widgets, what they do, and the server.

What takes long runs in one thread, a song at a time, so that the page answers meanwhile and visits
take turns. The panes of all songs are there from the start, hidden: to add or move one later would
stop the music in the others.
"""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html import escape
from pathlib import Path

import panel as pn

from mer_utils.app import songs
from mer_utils.app.songs import FIRST_WORDS, MOST_MEGABYTES, MOST_SONGS, Listener, Song
from mer_utils.predict import zero_shot
from mer_utils.predict.songs import find_songs

ADDRESS = "127.0.0.1"
TEMPLATE, CSS = (Path(__file__).with_name(f"page.{x}").read_text() for x in ("html.j2", "css"))
WIDE = {"sizing_mode": "stretch_width", "margin": (5, 0), "stylesheets": [CSS]}
_THREAD = ThreadPoolExecutor(1)


class Visit:
    """One visit to the page, which shares nothing with others but the listener.

    folder: what is uploaded. songs: one or none for each of the `slots`. page: what is shown.
    """

    def __init__(self, listener: Listener, folder: Path) -> None:
        self.listener, self.folder, self.words = listener, folder, songs.asked(FIRST_WORDS)
        self.songs: list[Song | None] = [None] * MOST_SONGS
        self.notes: dict[str, list[str]] = {"songs": [], "words": []}
        self.numbers, self.turn = itertools.count(), asyncio.Lock()
        html = partial(pn.pane.HTML, "", **WIDE)
        text, select, given = pn.widgets.TextInput, pn.widgets.Select, pn.widgets.FileDropper
        most = f"{', '.join(songs.KINDS)}; {MOST_SONGS} at most, {MOST_MEGABYTES} MB each"
        self.dropper = given(label=f"Songs ({most})", multiple=True, previews=[], **WIDE)
        self.dropper.max_file_size = f"{MOST_MEGABYTES}MB"
        self.path = text(label="Or a folder on this machine, then Enter", **WIDE)
        self.asking = text(label="Words, comma-separated, then Enter", value=FIRST_WORDS, **WIDE)
        self.pair = [select(label=x, options={}, **WIDE) for x in ("Side by side", "and")]
        self.status, self.table = html(), html()
        beside = pn.Row(*self.pair, sizing_mode="stretch_width", styles={"gap": "1rem"})
        self.comparison = pn.Column(beside, self.table, visible=False, **WIDE)
        self.slots = [pn.Column(html(), html(), visible=False, **WIDE) for _ in self.songs]
        watched = {self.dropper: self._dropped, self.path: self._folder_typed}
        watched |= {self.asking: self._asked} | dict.fromkeys(self.pair, self._show_pair)
        for widget, react in watched.items():
            widget.param.watch(react, "value")
        shown = {"dropper": self.dropper, "folder": self.path, "words": self.asking}
        shown |= {"status": self.status, "comparison": self.comparison}
        shown["cards"] = pn.FlexBox(*self.slots, gap="1rem", sizing_mode="stretch_width")
        self.page = pn.Template(TEMPLATE, items=shown)
        self.page.add_variable("css", CSS)
        self.page.add_variable("listener", listener)

    async def _dropped(self, _: object) -> None:
        new, present = dict(self.dropper.value), {*self.dropper.mime_type}
        self.dropper.value.clear()  # the bytes; what was dropped stays in mime_type
        self._keep(lambda song: song.cache or song.name in present - {*new})
        for name, content in new.items():
            self._take(name, content)
        await self._listen()

    async def _folder_typed(self, _: object) -> None:
        self._keep(lambda song: not song.cache)
        try:
            folders = [Path(typed).expanduser()] if (typed := self.path.value.strip()) else []
            bounds = (MOST_SONGS + 1, songs.MOST_SEARCH)
            for path in await asyncio.to_thread(find_songs, folders, *bounds):
                self._take(path.name, path)
        except (OSError, ValueError, RuntimeError) as error:
            self.notes["songs"].append(str(error))
        await self._listen()

    async def _asked(self, _: object) -> None:
        self.notes["words"] = []
        self._show_status("Reading the words …")
        try:
            self.notes["words"] = await asyncio.wrap_future(_THREAD.submit(self._rank_all))
        except (ValueError, OSError) as error:
            known = zero_shot.label_warnings(self.listener.model, self.words)  # of those before
            self.notes["words"] = [str(error), *known.values()]
        self._show_status()
        self._show_songs()

    def _keep(self, wanted: Callable[[Song], bool]) -> None:
        self.songs = [song if song and wanted(song) else None for song in self.songs]
        self.notes["songs"] = []

    def _take(self, name: str, source: Path | bytes | str) -> None:
        if None in self.songs:
            place = self.folder / str(next(self.numbers))
            self.songs[self.songs.index(None)] = songs.place_song(place, name, source)
        else:
            self.notes["songs"] = [f"{MOST_SONGS} songs are the most; the others are left out."]

    async def _listen(self) -> None:
        """Hear the songs that wait, one after the other."""
        async with self.turn:
            self._show_songs()
            while waiting := [x for x in self.songs if x and not (x.prediction or x.error)]:
                self._show_status(f"Listening to {waiting[0].name} …", len(waiting))
                await asyncio.wrap_future(_THREAD.submit(self._hear, waiting[0]))
                self._show_songs()
            self._show_status()

    def _hear(self, song: Song) -> None:
        try:
            songs.hear(song, self.listener.encoder)
            self._rank(song)
        except Exception as error:  # whatever it is, the other songs go on
            song.error = str(error) or type(error).__name__

    def _rank(self, song: Song) -> None:
        model, reference = self.listener.model, self.listener.reference
        song.prediction = zero_shot.predict_song(model, reference, song.features, self.words)
        song.error = ""

    def _rank_all(self) -> list[str]:
        """Rank what was heard by the words that are asked; returns what to know of them."""
        self.words = songs.asked(self.asking.value)
        for song in self.songs:
            if song and song.features:
                self._rank(song)
        return list(zero_shot.label_warnings(self.listener.model, self.words).values())

    def _show_status(self, doing: str = "", waiting: int = 0) -> None:
        lines = [escape(line) for line in (doing, *self.notes["songs"], *self.notes["words"])]
        if waiting:
            there = len(self.songs) - self.songs.count(None)
            lines[0] += f'<progress value="{there - waiting}" max="{there}"></progress>'
        self.status.object = "".join(f'<p role="status">{line}</p>' for line in lines if line)

    def _show_songs(self) -> None:
        heard = [song for song in self.songs if song and song.prediction]
        places = [self.songs.index(song) for song in heard]
        left, right = self.pair
        left.options = right.options = {f"{x + 1}. {self.songs[x].name}": x for x in places}
        if len(places) > 1:
            left.value = left.value if left.value in places else places[0]
            others = [place for place in places if place != left.value]
            right.value = right.value if right.value in others else others[0]
        self.comparison.visible = len(places) > 1
        for number, (slot, song) in enumerate(zip(self.slots, self.songs, strict=True), 1):
            slot.visible = song is not None
            slot[0].object = songs.song_html(self.listener, song, number) if song else ""
            slot[1].object = songs.near_html(song, heard) if song else ""
        self._show_pair()

    def _show_pair(self, *_: object) -> None:
        chosen = [one.value for one in self.pair]
        pair = [self.songs[place] for place in chosen if place is not None]
        if len(pair) == 2 and all(song and song.prediction for song in pair):
            self.table.object = songs.pair_html(self.listener, *pair)
        for place, slot in enumerate(self.slots):
            order = chosen.index(place) if place in chosen else 2
            slot.styles = {"flex": "1 1 25rem", "min-width": "0", "order": str(order)}


def serve(
    port: int = 5006, model: str | Path | None = None, show: bool = True, checkpoint: str = ""
) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C; what was uploaded is deleted then at the latest.

    model: folder of a released model; the package's if None. show: open the browser.
    checkpoint: folder with the audio encoder's weights, if it needs one.
    Raises OSError for a port that is taken; else as `songs.load_listener`.
    """
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port}; expected 1 to 65535")
    listener = songs.load_listener(model, checkpoint)
    pn.extension("filedropper")
    with tempfile.TemporaryDirectory(prefix="mer-songs-") as root:

        def visit() -> pn.Template:
            folder = tempfile.mkdtemp(dir=root)
            pn.state.on_session_destroyed(lambda session_context: shutil.rmtree(folder))
            return Visit(listener, Path(folder)).page

        own = {"static_dirs": {"songs": root}, "address": ADDRESS, "show": show}
        origins = [f"{ADDRESS}:{port}", f"localhost:{port}"]
        try:
            server = pn.io.server.get_server(visit, port, websocket_origin=origins, **own)
        except OSError as error:
            mend = "give another: python -m mer_utils app --port 5007"
            raise OSError(f"port {port} cannot be had ({error}); {mend}") from error
        print(f"http://{ADDRESS}:{port} (Ctrl-C ends it)", flush=True)
        server.run_until_shutdown()
