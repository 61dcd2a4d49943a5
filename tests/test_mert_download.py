"""Downloading MERT's weights, from a server on this machine that speaks the Hub's protocol.

huggingface_hub reads its address and its folders when it is imported, so the download happens in a
process of its own, which tells the server between two attempts how to misbehave.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mer_utils import sound
from mer_utils.sound import mert, random_mert

REPOSITORY, REVISION, *_ = mert.PUBLISHED["mert-v1-95m"]
WEIGHTS = "pytorch_model.bin"
CHILD = """
import json, sys, urllib.request
from huggingface_hub import constants
from mer_utils.batch import profiles
from mer_utils.sound import mert

constants.DOWNLOAD_CHUNK_SIZE = 4096  # what came before a connection drops is kept
found = []
for mode, accept_licence in json.loads(sys.argv[1]):
    constants.HF_HUB_OFFLINE = mode == "offline"
    urllib.request.urlopen(f"{constants.ENDPOINT}/be/{mode}").close()
    try:
        profiles.check_inputs(profiles.get("mert"), accept_licence=accept_licence)
        found.append(str(mert.find_checkpoint("mert-v1-95m")))
    except FileNotFoundError as error:
        found.append(f"error: {error}")
print(json.dumps(found))
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download needs: the tree of a commit; HEAD, GET and Range of a file.

    The server has files {name: bytes}, a mode (how it misbehaves), and what was asked in which.
    """

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        name, status = path.rpartition("/")[2], 200
        answer, headers = b"<html>please log in</html>", {}  # of a hotel's network, mode portal
        if path.startswith("/be/"):
            hub.mode = name
        else:
            hub.asked.append((hub.mode, name))
            if hub.mode != "portal" and path == f"/api/models/{REPOSITORY}/tree/{REVISION}":
                answer = json.dumps([in_tree(*file) for file in hub.files.items()]).encode()
            elif hub.mode != "portal" and path == f"/{REPOSITORY}/resolve/{REVISION}/{name}":
                answer = hub.files[name]
                etag = in_tree(name, answer).get("lfs", {}).get("oid", f"of-{name}")
                headers = {"X-Repo-Commit": REVISION, "ETag": f'"{etag}"'}
                headers["X-Linked-Size"] = len(answer)
        if hub.mode == "short" and body and name == WEIGHTS:
            answer = answer[:1000]
        if begin := self.headers.get("Range"):
            first = int(begin.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {first}-{len(answer) - 1}/{len(answer)}"
            answer, status = answer[first:], 206
        self.send_response(status)
        for key, value in {"Content-Length": len(answer), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if hub.mode == "drops" and status == 200 and name == WEIGHTS:
            answer, self.close_connection = answer[:5000], True
        if body:
            self.wfile.write(answer)

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
def hub(tmp_path):
    checkpoint = random_mert.write_mert_checkpoint(tmp_path / "published")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    server.files["modeling_MERT.py"] = b"raise SystemExit"
    server.mode, server.asked = "", []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_weights_are_downloaded_once_and_only_when_the_licence_is_accepted(hub, tmp_path):
    environment = {k: v for k, v in os.environ.items() if "HF_" not in k and "proxy" not in k}
    environment["PYTHONPATH"] = str(Path(mert.__file__).parents[2])
    environment["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_port}"
    environment |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    refused = [("refused", False), ("refused", "no")]
    failing = [("offline", True), ("portal", True), ("short", True)]
    cached = [("drops", True), ("cached", False), ("cached", True)]
    attempts = json.dumps(refused + failing + cached)
    command = [sys.executable, "-c", CHILD, attempts]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr

    found = json.loads(ran.stdout)
    for error in found[:5]:
        for needed in (REPOSITORY, REVISION, "380 MB", "CC-BY-NC-4.0", "--accept-licence", WEIGHTS):
            assert needed in error
    assert "HF_HUB_OFFLINE" in found[2]
    assert found[5] == found[6] == found[7]
    assert "%|" in ran.stderr, "no progress bar"
    modes = {mode for mode, _ in hub.asked}
    assert modes == {"portal", "short", "drops"}, "others need no network"
    downloaded = {path.name: path.read_bytes() for path in Path(found[5]).iterdir()}
    del hub.files["modeling_MERT.py"]
    assert downloaded == hub.files


def test_weights_in_the_cache_that_are_not_what_the_hub_announced(tmp_path):
    folder = random_mert.write_mert_checkpoint(tmp_path / "snapshot")
    blob = tmp_path / ("0" * 64)  # the SHA-256 that the Hub told
    (folder / WEIGHTS).rename(blob)
    (folder / WEIGHTS).symlink_to(blob)
    with pytest.raises(ValueError, match=blob.name):
        sound.load_encoder("mert-v1-95m", folder)
