"""Presets go to a hub and come back; the hub's own library talks to a server of this machine."""

import base64
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from kdet import hubs

SEND_AND_FETCH = """
import sys
from kdet import hubs
folder, address = sys.argv[1:]
hubs.upload(folder, address, message="First of all")
print(hubs.download(address))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the Hugging Face Hub's protocol that an upload and a download of a model need."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}
    commits: list[str] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer right":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/user/cells", "id": "1"})
        elif "/preupload/" in self.path:
            wanted = json.loads(body)["files"]
            self.answer(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted
                    ]
                }
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    self.commits.append(line["value"]["summary"])
                else:
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {
                    "commitUrl": f"http://{self.headers['Host']}/user/cells/commit/1",
                    "commitOid": "1" * 40,
                    "success": True,
                }
            )
        else:  # the model card is checked
            self.answer({"errors": [], "warnings": []})

    def do_GET(self, with_body=True):
        place, _, name = self.path.partition("/resolve/")
        name = name.partition("/")[2]
        if name in self.files:
            content = self.files[name]
            etag = hashlib.sha256(content).hexdigest()
            self.answer(content if with_body else b"", 200, {"ETag": f'"{etag}"'}, len(content))
        elif self.path.startswith("/api/models/user/cells/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": "1" * 40}
                for name, content in self.files.items()
            ]
            self.answer(entries)
        elif self.path.startswith("/api/models/user/cells"):
            siblings = [{"rfilename": name} for name in self.files]
            self.answer({"id": "user/cells", "modelId": "user/cells", "sha": "1" * 40, "siblings": siblings})
        else:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self):
        self.do_GET(with_body=False)

    def answer(self, content, code=200, headers=(), length=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"X-Repo-Commit": "1" * 40, **dict(headers)}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path):
    """Runs a script that talks to the hub; gives what it ended with."""
    pytest.importorskip("huggingface_hub", reason="the library of the Hugging Face Hub is not installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(script, *arguments, token="right"):
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**environment, "HF_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=120,
        )

    yield run
    server.shutdown()
    server.server_close()


def test_a_folder_goes_to_hugging_face_and_comes_back(hub, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("model: {}\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    done = hub(SEND_AND_FETCH, folder, "hf://user/cells")
    assert done.returncode == 0, done.stderr
    fetched = pathlib.Path(done.stdout.splitlines()[-1])
    for file in folder.iterdir():
        assert (fetched / file.name).read_bytes() == file.read_bytes()
    assert Hub.commits == ["First of all"]
    refused = hub(SEND_AND_FETCH, folder, "hf://user/cells", token="wrong")
    assert "HubError: hf://user/cells: " in refused.stderr and "401" in refused.stderr
    missing = hub("from kdet import hubs; hubs.download('hf://user/none')")
    assert "HubError: hf://user/none: " in missing.stderr and "404" in missing.stderr


def test_a_folder_goes_to_kaggle_and_comes_back(monkeypatch, tmp_path):
    kagglehub = pytest.importorskip("kagglehub", reason="the library of Kaggle is not installed")
    sent = {}

    def model_upload(handle, local_model_dir, version_notes=""):
        sent[handle] = local_model_dir, version_notes

    monkeypatch.setattr(kagglehub, "model_upload", model_upload)
    monkeypatch.setattr(kagglehub, "model_download", lambda handle: sent[handle][0])
    address = "kaggle://user/cells/keras/small"
    assert hubs.upload(tmp_path, address, "First") == address
    assert sent == {"user/cells/keras/small": (str(tmp_path), "First")}
    assert hubs.download(address) == tmp_path
    with pytest.raises(hubs.HubError, match="kaggle://user/cells/keras/large: "):
        hubs.download("kaggle://user/cells/keras/large")
