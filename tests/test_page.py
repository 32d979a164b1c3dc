"""The page: what it shows, a server's answers, and clicking through it in a browser."""

import http.server
import json
import os
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from kdet import cli, page
from kdet.errors import KdetError
from kdet.results import Result


class Fixed:
    """Finds a red and a blue object in every image."""

    def detect(self, image):
        height, width = image.shape[:2]
        boxes = np.float32([[0, 0, width / 2, height / 2], [5, 5, width, height]])
        scores, labels = np.float32([0.9, 0.4]), np.int32([0, 1])
        return Result(boxes, scores, labels, None, ["red", "blue"], image, (height, width))


def test_the_view_follows_the_threshold():
    image = np.zeros([20, 40, 3], np.uint8)
    named = [("a.png", Fixed().detect(image))]
    drawings, rows, path = page.view(named, 0.3)
    assert rows == [["a.png", "red", 0.9, 0, 0, 20, 10], ["a.png", "blue", 0.4, 5, 5, 40, 20]]
    assert drawings[0][0].shape == image.shape and drawings[0][0].any() and drawings[0][1] == "a.png"
    with open(path) as file:
        assert [len(entry["detections"]) for entry in json.load(file)] == [2]
    drawings, rows, path = page.view(named, 0.5)
    assert [row[1] for row in rows] == ["red"]


@pytest.fixture
def server():
    """Answers as TensorFlow Serving does for a model of that name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/v1/models/cells:predict"
            found = {
                "num_detections": 1.0,
                "detection_boxes": [[0.5, 0.25, 1.0, 0.75], [0, 0, 0, 0]],
                "detection_scores": [0.75, 0],
                "detection_classes": [2.0, 0],
            }
            body = {"predictions": [found] * len(request["instances"])} if known else {"error": "not found"}
            text = json.dumps(body).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_a_server_is_asked_in_its_own_terms(server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    result = page.Served(server, "cells", ["red", "blue"]).detect(np.zeros([20, 40, 3], np.uint8))
    np.testing.assert_allclose(result.boxes, [[10, 10, 30, 20]])
    assert result.names == ["blue"] and result.scores.tolist() == [0.75] and result.size == (20, 40)
    with pytest.raises(KdetError, match="404"):
        page.Served(server, "cars").detect(np.zeros([20, 40, 3], np.uint8))
    with pytest.raises(KdetError, match="looks like http://host:8501"):
        page.Served("localhost:8501", "cells")
    with pytest.raises(KdetError, match="http://127.0.0.1:9 does not answer"):
        page.Served("http://127.0.0.1:9", "cells").detect(np.zeros([4, 4, 3], np.uint8))


@pytest.mark.parametrize(
    "given, text",
    [
        ([], "Name a model"),
        (["mask_rcnn_r50"], "no recipe named 'mask_rcnn_r50'"),
        (["--rest", "http://localhost:1"], "--rest URL and --served NAME go together"),
    ],
)
def test_the_command_says_what_is_missing(given, text, capsys):
    assert cli.main(["demo", *given]) == 2
    assert text in capsys.readouterr().err


def test_clicking_through_it(tmp_path):
    pytest.importorskip("gradio", reason="Gradio is not installed")
    browser_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("there is no Chromium here")
    image = tmp_path / "street.png"
    image.write_bytes(tf.io.encode_png(np.full([60, 80, 3], 90, np.uint8)).numpy())
    built = page.build({"fixed": Fixed()})
    _, address, _ = built.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    try:
        with browser_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
            tab = browser.new_page(viewport={"width": 1200, "height": 800})
            tab.goto(address)
            tab.locator("#images input[type=file]").set_input_files(str(image))
            tab.get_by_text("street.png").first.wait_for()
            tab.locator("#detect").click()
            tab.locator("#table").get_by_text("red").first.wait_for()
            assert tab.locator("#table").get_by_text("blue").count() >= 1
            assert tab.locator("#found img").count() >= 1
            slider = tab.locator("#score input[type=number]")
            slider.fill("0.5")
            slider.press("Enter")
            tab.locator("#table").get_by_text("blue").first.wait_for(state="detached")
            tab.screenshot(path=os.environ.get("KDET_SCREENSHOT") or str(tmp_path / "page.png"))
            with tab.expect_download() as download:
                tab.locator("#json").click()
            found = json.loads(open(download.value.path()).read())
            assert [len(entry["detections"]) for entry in found] == [1]
            browser.close()
    finally:
        built.close()
