"""Downloads, against a server on this machine."""

import hashlib
import http.server
import socket
import threading
import time
from typing import ClassVar

import pytest

from data_prep.lib import fetch
from data_prep.lib.corpora import Remote
from data_prep.lib.packed import PrepError

CONTENT = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, honours Range, remembers it; the first `drop` answers stop half-way."""

    ranges: ClassVar[list] = []
    drop = 0

    def do_GET(self):
        asked = self.headers.get("Range")
        Handler.ranges.append(asked)
        begin = int(asked.split("=")[1].rstrip("-")) if asked else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[begin:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if Handler.drop:
            Handler.drop -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)  # pooch waits between attempts
    Handler.ranges, Handler.drop = [], 0
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/corpus.tgz"
    httpd.shutdown()
    httpd.server_close()


GOOD = hashlib.sha256(CONTENT).hexdigest()


def test_fetch_checks_and_is_not_repeated(tmp_path, server):
    for _ in range(2):
        path = fetch.fetch(Remote(server, GOOD), tmp_path)
        assert path.read_bytes() == CONTENT
    assert len(Handler.ranges) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.tgz"]


def test_wrong_checksum_leaves_no_file(tmp_path, server):
    with pytest.raises(PrepError, match="wrong sha256"):
        fetch.fetch(Remote(server, "0" * 64), tmp_path)
    assert not (tmp_path / "corpus.tgz").exists()


def test_an_interrupted_download_asks_only_for_the_rest(tmp_path, server):
    (tmp_path / "corpus.tgz.part").write_bytes(CONTENT[:1000])
    assert fetch.fetch(Remote(server, GOOD), tmp_path).read_bytes() == CONTENT
    assert Handler.ranges == ["bytes=1000-"]


def test_a_dropped_connection_is_retried_from_where_it_was(tmp_path, server):
    Handler.drop = 1
    assert fetch.fetch(Remote(server, GOOD), tmp_path).read_bytes() == CONTENT
    first, second = Handler.ranges
    assert first is None and 0 < int(second[len("bytes=") : -1]) <= len(CONTENT) // 2


def test_a_stale_part_file_is_started_over(tmp_path, server):
    (tmp_path / "corpus.tgz.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert fetch.fetch(Remote(server, GOOD), tmp_path).read_bytes() == CONTENT


def test_no_network_says_what_was_tried_and_fails_fast(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = time.monotonic()
    url = f"http://127.0.0.1:{port}/corpus.tgz"
    with pytest.raises(PrepError, match=f"no network: tried {url} 3 times.*refused.*--raw-dir"):
        fetch.fetch(Remote(url, GOOD), tmp_path)
    assert time.monotonic() - begin < 20
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_given_up_in_time(server):
    assert fetch.reachable(server, 5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        assert not fetch.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/a", 0.3)
        assert time.monotonic() - begin < 2
