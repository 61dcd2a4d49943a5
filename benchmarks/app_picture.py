"""Draw docs/app.png: the page for songs with two pieces of the built-in corpus.

python benchmarks/app_picture.py        needs chromium or google-chrome
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from mer_utils.batch import profiles
from mer_utils.storage import PROJECT

PIECES = {"demo-mtg-0000": "A funny piece.flac", "demo-mtg-0009": "A sad piece.flac"}
PORT = "5017"


def main() -> None:
    """Serve the page, give it the pieces, and photograph it."""
    line = [sys.executable, "-m", "mer_utils", "app", "--no-browser", "--port", PORT]
    tracks = profiles.load_dataset("demo-mtg", 12).tracks["audio"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as server,
        sync_playwright() as playwright,
    ):
        try:
            server.stdout.readline()  # it is ready
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 960, "height": 800})
            page.goto(f"http://127.0.0.1:{PORT}")
            words = page.get_by_role("textbox", name="Words")
            words.fill("happy, sad, energetic, gentle")
            words.press("Enter")
            songs = [shutil.copy(tracks[x], Path(folder, name)) for x, name in PIECES.items()]
            page.locator("input[type=file]").set_input_files([str(song) for song in songs])
            page.locator(".curve").nth(1).wait_for(timeout=120_000)
            page.wait_for_timeout(2000)
            page.screenshot(path=PROJECT / "docs" / "app.png", full_page=True)
            browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
