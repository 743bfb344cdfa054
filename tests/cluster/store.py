"""An S3 server in this process (moto's), whose requests are counted and may fail."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "archive"


class Store:
    """A bucket at ``s3://archive``. Of its requests the share ``failing`` is answered with an error of the server."""

    def __init__(self) -> None:
        self.failing = 0.0
        self.requests: Counter[str] = Counter()
        self.failed = 0
        self._due, self._lock = 0.0, threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, request: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests[request["REQUEST_METHOD"]] += 1
            # by the count, not by chance: a run of few requests has its share, too
            self._due += self.failing
            fails = self._due >= 1
            self._due -= fails
            self.failed += fails
        if fails:
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        answer: Iterable[bytes] = self._application(request, respond)
        return answer

    def files(self) -> Any:
        """fsspec's view of it."""
        import fsspec

        return fsspec.filesystem("s3")

    def put(self, folder: Path, below: str) -> None:
        """Store a folder's files, when nothing fails."""
        files = self.files()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.put_file(str(path), f"{BUCKET}/{below}/{path.relative_to(folder).as_posix()}")

    def content(self, below: str) -> dict[str, bytes]:
        """What lies below, by name."""
        files = self.files()
        files.invalidate_cache()
        prefix = f"{BUCKET}/{below}/"
        return {path.removeprefix(prefix): files.cat_file(path) for path in files.find(f"{BUCKET}/{below}")}

    def run(self) -> None:
        """Serve until ``stop``."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End serving."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving() -> Iterator[Store]:
    """A store that this process, and those that it starts, reach as ``s3://``."""
    store = Store()
    thread = threading.Thread(target=store.run, daemon=True)
    thread.start()
    names = {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        store.files().mkdir(BUCKET)
        yield store
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        store.stop()
        thread.join()
