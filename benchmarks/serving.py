"""A server under load on this machine while documents are added: requests per second, milliseconds, wrong answers.

    python benchmarks/serving.py                 # writes benchmarks/results/serving.md

`python -m pyterrier_lir serve` serves 3,000 synthetic documents, with the toy encoder. Some clients ask one of 50
queries after the other over loopback, for at most 15 s and 20,000 requests a round; meanwhile a third process adds 20
documents again and again, and notes the ranking of every query in each state. An answer says which state it searched:
one that is not the ranking of that state, document by document and score by score, is wrong, and ends this program.
At last 200 clients come at once to a server with one worker and four places to wait: whatever is not answered must have
been refused at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from cached import RESULTS, markdown

import pyterrier_lir as lir
from pyterrier_lir.experiment import environment

DOCUMENTS, ADDED, QUERIES, K, SECONDS, REQUESTS, CROWD = 3000, 20, 50, 10, 15.0, 20_000, 200
METHODS, CLIENTS = ("plaid", "exhaustive"), (1, 4, 16)
ENCODER = lir.ToyEncoder(dim=64)


def documents(first: int, count: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(first)
    return [
        {"docno": f"d{first + i}", "text": " ".join(f"w{w % 5000}" for w in rng.zipf(1.3, int(rng.integers(20, 80))))}
        for i in range(count)
    ]


QUERY_TEXTS = [" ".join(document["text"].split()[2:12:2]) for document in documents(1, QUERIES)]


def adder(path: Path, method: str, out: Path) -> None:
    """Adds documents until its input is closed; writes the ranking of every query in each state."""
    index, states = lir.LirIndex(path), dict[int, dict[str, Any]]()
    topics = ENCODER(pd.DataFrame({"qid": [str(i) for i in range(QUERIES)], "query": QUERY_TEXTS}))
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    number = DOCUMENTS
    while True:
        found = getattr(index, method)(num_results=K, num_threads=1)(topics)
        states[index.store.manifest["number"]] = {
            query: list(zip(rows["docno"], rows["score"], strict=True)) for query, rows in found.groupby("query")
        }
        if stop.wait(0.5):
            break
        index.add(ENCODER.transform_iter(documents(number, ADDED)), verbose=False, num_threads=1)
        number += ADDED
    out.write_text(json.dumps(states))


class Server:
    """``python -m pyterrier_lir serve`` in a process of its own."""

    def __init__(self, path: Path, method: str, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        model = ["--model", "toy", "--dim", "64", "--method", method, "--port", str(port)]
        self.process = subprocess.Popen([sys.executable, "-m", "pyterrier_lir", "serve", str(path), *model, *more])
        self.address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.address}/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the server did not come up")

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def load(address: str, clients: int) -> tuple[list[tuple[float, dict[str, Any]]], Counter[int], float]:
    """Answers with their milliseconds, statuses, and seconds."""
    answers: list[tuple[float, dict[str, Any]]] = []
    statuses: Counter[int] = Counter()
    began = time.monotonic()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with httpx.Client(base_url=address, timeout=30) as client:
            while time.monotonic() < began + SECONDS and len(answers) < REQUESTS:
                clock = time.perf_counter()
                answer = client.get("/search", params={"query": QUERY_TEXTS[rng.integers(QUERIES)], "k": K})
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    answers.append((1000 * (time.perf_counter() - clock), answer.json()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, statuses, time.monotonic() - began


def wrong(answers: list[tuple[float, dict[str, Any]]], states: dict[str, Any]) -> int:
    """Answers that are not the ranking of the state that they name."""
    count = 0
    for _, answer in answers:
        expected = states[str(answer["manifest"])][answer["query"]]
        count += [[one["docno"], one["score"]] for one in answer["results"]] != expected
    return count


def round_of(folder: Path, method: str, clients: int) -> list[str]:
    """One row: load while documents are added."""
    path, out = folder / f"{method}-{clients}.lir", folder / "states.json"
    (ENCODER >> lir.LirIndex(path).indexer(verbose=False)).index(documents(0, DOCUMENTS))
    server = Server(path, method)
    command = [sys.executable, __file__, "--adder", str(path), method, str(out)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        answers, statuses, seconds = load(server.address, clients)
    finally:
        other.communicate()
        server.close()
    states = json.loads(out.read_text())
    bad = wrong(answers, states)
    assert not bad, f"{bad} wrong answers"
    times = [ms for ms, _ in answers]
    seen = len({answer["manifest"] for _, answer in answers})
    numbers = [f"{value:.1f}" for value in (len(answers) / seconds, *np.percentile(times, [50, 95, 99]))]
    return [
        method,
        str(clients),
        str(len(answers)),
        *numbers,
        str(sum(statuses.values()) - statuses[200]),
        str(seen),
        "0",
    ]


def crowd(folder: Path) -> str:
    """Many clients at once and little room."""
    path = folder / "exhaustive-1.lir"
    server = Server(path, "exhaustive", "--workers", "1", "--waiting", "4", "--timeout", "5")
    statuses: Counter[str] = Counter()
    slowest = 0.0

    def work() -> None:
        nonlocal slowest
        clock = time.perf_counter()
        try:
            answer = httpx.get(f"{server.address}/search", params={"query": QUERY_TEXTS[0]}, timeout=30)
            statuses[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            statuses[type(error).__name__] += 1
        slowest = max(slowest, time.perf_counter() - clock)

    threads = [threading.Thread(target=work) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    healthy = httpx.get(f"{server.address}/health").status_code
    server.close()
    assert set(statuses) <= {"200", "503"}, statuses
    assert healthy == 200
    return (
        f"{CROWD} clients at once, one worker, four places to wait: {statuses['200']} answered, {statuses['503']} "
        f"refused (503), the slowest after {slowest:.1f} s; healthy afterwards."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adder", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.adder:
        adder(Path(args.adder[0]), args.adder[1], Path(args.adder[2]))
        return
    folder, before = Path(tempfile.mkdtemp(prefix="lir-serving-")), os.getloadavg()[0]
    try:
        rows = [round_of(folder, method, clients) for method in METHODS for clients in CLIENTS]
        said = crowd(folder)
    finally:
        shutil.rmtree(folder)
    here = environment.describe()
    header = ["method", "clients", "answers", "per second", "median ms", "95 %", "99 %", "refused", "states", "wrong"]
    text = "\n".join([
        "# A server under load", "",
        f"{here['processor']['model']}, {here['processor']['cores']} cores for server, clients and the process that "
        f"adds; load at the start, from other work: {before:.1f}. {DOCUMENTS:,} documents at first, 64 dimensions, "
        f"k = {K}. states: states of the index that were seen.", "",
        *markdown(header, rows), "", said, "", "Written by `benchmarks/serving.py`.", "",
    ])  # fmt: skip
    (RESULTS / "serving.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
