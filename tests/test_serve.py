"""The server: its answers, its limits, that it follows the index, its page in a browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyterrier_lir as lir
from pyterrier_lir.__main__ import main

pytest.importorskip("fastapi", reason="FastAPI is not installed: pip install fastapi uvicorn prometheus-client httpx")
pytest.importorskip("prometheus_client", reason="prometheus-client is not installed: pip install prometheus-client")
pytest.importorskip("httpx", reason="httpx is not installed, through which the server is asked: pip install httpx")

from fastapi.testclient import TestClient

from pyterrier_lir.serve import Settings, create_app

ENCODER = lir.ToyEncoder()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def index(tmp_path):
    """The example, as an index of its own that may change."""
    index = lir.LirIndex(tmp_path / "served.lir")
    return index.indexer(verbose=False).index(lir.LirIndex.example().get_corpus_iter())


def client(index, **settings):
    return TestClient(create_app(index._directory, ENCODER, Settings(**settings)), base_url="http://127.0.0.1")


@pytest.mark.parametrize("method", ["exhaustive", "plaid", "warp", "xtr"])
def test_search_is_that_of_the_index(index, method):
    with client(index, method=method) as web:
        found = web.get("/search", params={"query": "bread dough", "k": 2}).json()
    expected = (ENCODER >> getattr(index, method)(num_results=2)).search("bread dough")
    assert [(one["docno"], one["score"], one["rank"]) for one in found["results"]] == list(
        zip(expected["docno"], expected["score"], expected["rank"], strict=True)
    )
    assert found["results"][0]["docno"] == "dough"
    assert (found["query"], found["manifest"]) == ("bread dough", 1)


def test_explain_says_which_words_met(index):
    ENCODER(ENCODER.query_encoder()(_frame("let the bread dough rest for a day")))  # the toy encoder learns the words
    with client(index) as web:
        found = web.get("/explain", params={"query": "bread day", "docno": "dough"}).json()
    assert found["doc_words"] == "let the bread dough rest for a day".split()
    words = [(one["word"], found["doc_words"][one["position"]], one["exact"]) for one in found["matches"]]
    assert words == [("bread", "bread", True), ("day", "day", True)]
    assert found["score"] == pytest.approx(2, abs=0.05)
    assert sum(one["share"] for one in found["matches"]) == pytest.approx(1)


def _frame(text):
    import pandas as pd

    return pd.DataFrame({"qid": ["1"], "query": [text]})


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/search?query=%20", 422, "query is blank"),
        ("/search", 422, "Field required"),
        ("/search?query=x&k=0", 422, "k is 0; expected 1 to 50"),
        ("/search?query=x&k=51", 422, "k is 51; expected 1 to 50"),
        ("/search?query=x&k=many", 422, "valid integer"),
        ("/search?query=" + "x" * 101, 422, "query has 101 characters; expected at most 100"),
        ("/explain?query=x&docno=nobody", 404, "The index has no document 'nobody'"),
        ("/docs", 404, "Not Found"),
    ],
)
def test_what_does_not_fit_is_refused(index, path, status, words):
    with client(index, max_query=100, max_results=50) as web:
        answer = web.get(path)
    assert answer.status_code == status
    assert words in answer.text


def test_the_server_follows_the_index(index):
    with client(index) as web:
        assert web.get("/search", params={"query": "zebra"}).json()["results"][0]["score"] < 0.9
        index.add(ENCODER.transform_iter([{"docno": "zoo", "text": "a zebra"}]), verbose=False)
        found = web.get("/search", params={"query": "zebra"}).json()
        assert (found["results"][0]["docno"], found["manifest"]) == ("zoo", 2)
        index.delete(["zoo"])
        found = web.get("/search", params={"query": "zebra"}).json()
        assert "zoo" not in [one["docno"] for one in found["results"]]
        assert web.get("/health").json() == {
            "status": "ok", "documents": 5, "manifest": 3, "encoder": ENCODER.fingerprint, "method": "plaid",
        }  # fmt: skip


def test_an_index_that_is_gone_is_no_health(index):
    with client(index) as web:
        assert web.get("/health").status_code == 200
        shutil.rmtree(index._directory)
        assert web.get("/health").status_code == 503


class Slow(lir.ToyEncoder):
    """Waits until it is let go."""

    def __init__(self):
        super().__init__()
        self.gate, self.asked = threading.Event(), threading.Semaphore(0)

    def encode_queries(self, texts):
        if "slow" in texts:
            self.asked.release()
            self.gate.wait(20)
        return super().encode_queries(texts)


def test_a_full_queue_is_said_at_once_and_places_come_back(index):
    encoder = Slow()
    app = create_app(index._directory, encoder, Settings(workers=1, waiting=1, timeout=20))
    with TestClient(app, base_url="http://127.0.0.1") as web, ThreadPoolExecutor(2) as others:
        running = [others.submit(web.get, "/search", params={"query": "slow"}) for _ in range(2)]
        until = time.monotonic() + 20
        while _metric(web, "lir_pending") < 2 and time.monotonic() < until:
            time.sleep(0.01)
        answer = web.get("/search", params={"query": "day"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        encoder.gate.set()
        assert [one.result().status_code for one in running] == [200, 200]
        assert web.get("/search", params={"query": "day"}).status_code == 200
        assert _metric(web, "lir_pending") == 0


def test_a_late_answer_is_an_error_and_keeps_its_place(index):
    encoder = Slow()
    app = create_app(index._directory, encoder, Settings(workers=1, waiting=0, timeout=0.2))
    with TestClient(app, base_url="http://127.0.0.1") as web:
        answer = web.get("/search", params={"query": "slow"})
        assert (answer.status_code, "within 0.2 s" in answer.text) == (504, True)
        assert web.get("/search", params={"query": "day"}).status_code == 503  # its thread is still busy
        encoder.gate.set()
        until = time.monotonic() + 20
        while _metric(web, "lir_pending") and time.monotonic() < until:
            time.sleep(0.01)
        assert _metric(web, "lir_pending") == 0


def _metric(web, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", web.get("/metrics").text, re.MULTILINE)[1])


def test_metrics_count_requests_by_path_and_status(index):
    with client(index) as web:
        for query in ("day", "day", " "):
            web.get("/search", params={"query": query})
        web.get("/../secret")
        assert _metric(web, 'lir_requests_total{path="/search",status="200"}') == 2
        assert _metric(web, 'lir_requests_total{path="/search",status="422"}') == 1
        assert _metric(web, 'lir_requests_total{path="other",status="404"}') == 1
        assert _metric(web, "lir_documents") == 5


def test_on_loopback_other_host_names_are_refused(index):
    with client(index) as web:
        assert web.get("/health", headers={"host": "evil.example"}).status_code == 400
    with client(index, host="0.0.0.0") as web:
        assert web.get("/health", headers={"host": "search.example"}).status_code == 200


def test_the_page_runs_its_own_script_only(index):
    with client(index) as web:
        answer = web.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'; script-src 'sha256-" in answer.headers["content-security-policy"]
    assert answer.text.count("<script>") == 1


def test_mistakes_are_named(index, tmp_path, capsys):
    with pytest.raises(ValueError, match="were encoded by 'toy-32-0', but the model is 'toy-16-0'"):
        create_app(index._directory, lir.ToyEncoder(dim=16))
    with pytest.raises(ValueError, match="method is 'nosuch'; expected one of exhaustive, plaid"):
        create_app(index._directory, ENCODER, Settings(method="nosuch"))
    with pytest.raises(ValueError, match="timeout is 0; expected seconds"):
        Settings(timeout=0)
    with pytest.raises(ValueError, match="waiting is -1; expected at least 0"):
        Settings(waiting=-1)
    assert main(["serve", str(tmp_path / "nothing.lir"), "--model", "toy"]) == 2
    assert "There is no index at" in capsys.readouterr().err
    assert main(["serve", str(index._directory), "--model", "nosuch/model"]) == 2
    assert "The model 'nosuch/model' cannot be loaded" in capsys.readouterr().err


@pytest.fixture
def served(index):
    """The address of a server in a process of its own."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed, which runs the server: pip install uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pyterrier_lir", "serve", str(index._directory), "--model", "toy", "--dim", "32"]
    process = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.PIPE, text=True, env={**os.environ})
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
    assert process.poll() is None, process.stderr.read()
    yield address
    process.send_signal(signal.SIGINT)
    process.wait(20)
    process.stderr.close()


def test_the_command_serves_and_the_page_shows_alignments(served, tmp_path):
    with urllib.request.urlopen(f"{served}/search?query=bread+dough&k=1", timeout=20) as answer:
        assert json.load(answer)["results"][0]["docno"] == "dough"
    if CHROMIUM is None:
        pytest.skip("no Chromium here, in which the page is looked at: apt-get install chromium")
    address = f"{served}/?{urllib.parse.urlencode({'query': 'bread dough', 'docno': 'dough'})}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--virtual-time-budget=10000", "--dump-dom", address],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    page = done.stdout
    assert re.search(r'<p id="status" role="status">5 results in [\d.]+ ms</p>', page), page + done.stderr
    assert re.findall(r"<li><button>(\w+)</button>", page)[0] == "dough"
    rows = re.findall(r"<tr><td>(\w+)</td><td>(\S+?)( ≈)?</td><td>([\d.]+)</td><td>(\d+) %</td></tr>", page)
    assert [(word, near) for word, _, near, *_ in rows] == [("bread", ""), ("dough", "")]
    assert all(float(similarity) > 0.95 for *_, similarity, _ in rows)
    assert page.count("<mark") == 2
