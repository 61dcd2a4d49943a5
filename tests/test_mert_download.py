"""Downloading MERT's weights, from a server on this machine that speaks the Hub's protocol."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

from mer_utils import sound
from mer_utils.sound import mert, random_mert

REPOSITORY, REVISION, *_ = mert.PUBLISHED["mert-v1-95m"]
WEIGHTS = "pytorch_model.bin"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download needs: the tree of a commit; HEAD and GET of a file.

    The server has files {name: bytes}, a mode (how it misbehaves), and what was asked in which.
    """

    def do_GET(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        name, answer, headers = path.rpartition("/")[2], b"<html>please log in</html>", {}
        hub.asked.append((hub.mode, name))
        if hub.mode == "portal":  # of a hotel's network
            pass
        elif path == f"/api/models/{REPOSITORY}/tree/{REVISION}":
            answer = json.dumps([in_tree(*file) for file in hub.files.items()]).encode()
        elif path == f"/{REPOSITORY}/resolve/{REVISION}/{name}":
            answer = hub.files[name]
            etag = in_tree(name, answer).get("lfs", {}).get("oid", f"of-{name}")
            headers = {"X-Repo-Commit": REVISION, "ETag": f'"{etag}"'}
            headers["X-Linked-Size"] = len(answer)
        if (hub.mode, self.command, name) == ("short", "GET", WEIGHTS):
            answer = answer[:1000]
        self.send_response(200)
        for key, value in {"Content-Length": len(answer), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def in_tree(name: str, content: bytes) -> dict:
    """A file as the Hub lists it; weights are in its store of large files."""
    found = {"type": "file", "path": name, "oid": f"of-{name}", "size": len(content)}
    if name == WEIGHTS:
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        found["lfs"]["pointerSize"] = 134
    return found


@pytest.fixture
def hub(tmp_path, monkeypatch):
    checkpoint = random_mert.write_mert_checkpoint(tmp_path / "published")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    server.files["modeling_MERT.py"] = b"raise SystemExit"
    server.mode, server.asked = "", []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()  # the next one reads the environment
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()


def test_weights_are_downloaded_once_and_only_when_the_licence_is_accepted(
    hub, tmp_path, monkeypatch, capsys
):
    def find(mode: str, accept_licence: object):
        hub.mode = mode
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", mode == "offline")
        return mert.find_checkpoint("mert-v1-95m", None, accept_licence)

    failing = [("offline", True), ("portal", True), ("short", True)]
    for attempt in [("refused", False), ("refused", "no"), *failing]:
        with pytest.raises(FileNotFoundError) as error:
            find(*attempt)
        for needed in (REPOSITORY, REVISION, "380 MB", "CC-BY-NC-4.0", "--accept-licence", WEIGHTS):
            assert needed in str(error.value)
        assert ("HF_HUB_OFFLINE" in str(error.value)) == (attempt[0] == "offline")
    found = find("good", True)
    assert "%|" in capsys.readouterr().err, "no progress bar"
    assert find("cached", False) == find("cached", True) == find("offline", False) == found
    assert {mode for mode, _ in hub.asked} == {"portal", "short", "good"}, "others need no network"
    del hub.files["modeling_MERT.py"]
    assert {path.name: path.read_bytes() for path in found.iterdir()} == hub.files
    of_the_cache = sound.load_encoder("mert-v1-95m")
    assert of_the_cache.settings() == sound.load_encoder("mert-v1-95m", found).settings()
    (found / WEIGHTS).unlink()
    for folder in (found, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=REPOSITORY):
            sound.load_encoder("mert-v1-95m", folder)


def test_weights_in_the_cache_that_are_not_what_the_hub_announced(tmp_path):
    folder = random_mert.write_mert_checkpoint(tmp_path / "snapshot")
    blob = tmp_path / ("0" * 64)  # the SHA-256 that the Hub told
    (folder / WEIGHTS).rename(blob)
    (folder / WEIGHTS).symlink_to(blob)
    with pytest.raises(ValueError, match=blob.name):
        sound.load_encoder("mert-v1-95m", folder)
