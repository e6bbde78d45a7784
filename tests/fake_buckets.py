"""Buckets on the loopback address, as storage.googleapis.com serves those that everybody may read."""

import contextlib
import http.server
import json
import threading
import urllib.parse

# Names a page of a listing has.
PAGE = 2


@contextlib.contextmanager
def serve(objects, private=(), lengths=None):
    """Serves objects, {"BUCKET/OBJECT": bytes}, which may change meanwhile.

    Args:
        objects: what there is.
        private: buckets that ask for credentials.
        lengths: object -> after how many bytes its connections break.

    Yields:
        The address, and the list of requests.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            url = urllib.parse.urlsplit(self.path)
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            asked.append(f"{self.command} {self.path}" + (f" from {start}" if start else ""))
            words = [urllib.parse.unquote(word) for word in url.path.strip("/").split("/")]
            if words[:3] == ["storage", "v1", "b"]:
                status, content = listing(objects, words[3], dict(urllib.parse.parse_qsl(url.query)))
                bucket = words[3]
            else:
                content, bucket = objects.get("/".join(words)), words[0]
                status = 404 if content is None else 206 if start else 200
            status, content = (401, b"") if bucket in private else (status, (content or b"")[start:])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: (lengths or {}).get("/".join(words))])

        def log_message(self, *arguments):
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def listing(objects, bucket, query):
    """A page of what lies in a directory; status and content."""
    prefix = query.get("prefix", "")
    inside = f"{bucket}/{prefix}"
    rest = sorted(name.removeprefix(inside) for name in objects if name.startswith(inside))
    if not any(name.startswith(f"{bucket}/") for name in objects):
        return 404, b"{}"
    names = sorted({name.partition("/")[0] + name.partition("/")[1] for name in rest})
    start, count = int(query.get("pageToken", 0)), int(query.get("maxResults", PAGE))
    shown = [f"{prefix}{name}" for name in names[start : start + count]]
    page = {"items": [{"name": name} for name in shown if not name.endswith("/") or name == prefix]}
    page |= {"prefixes": [name for name in shown if name.endswith("/") and name != prefix]}
    page |= {"nextPageToken": str(start + count)} if start + count < len(names) else {}
    return 200, json.dumps(page).encode()
