"""The peak of this process's anonymous memory while something runs."""

from __future__ import annotations

import threading
from pathlib import Path


class Peak:
    """Looks every 50 ms; ``megabytes`` is the largest that was seen. Maps of files do not count."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            status = Path("/proc/self/status").read_text()
            self.megabytes = max(self.megabytes, int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6)

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
