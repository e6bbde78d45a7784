"""A Hugging Face hub on the loopback address, with a few models, for a process of its own.

python -m tests.conversion.fake_hub HANDLE … prints what `fetch` gives for each: its .keras file, the names of the files
in its directory, or its sentence.
"""

import contextlib
import hashlib
import http.server
import json
import sys
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ERRORS = {"gated": (403, "GatedRepo"), "private": (401, "RepoNotFound"), "broken": (500, None)}


@contextlib.contextmanager
def serve(models):
    """Serves models, {"owner/name": {file name: bytes}}; yields the address, and the list of paths asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            asked.append(f"{self.command} {self.path}")
            status, error, content = find(models, self.path)
            self.send_response(status)
            if error:
                self.send_header("X-Error-Code", error)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *arguments):
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def find(models, path):
    """Status, error code and content of an answer."""
    words = path.removeprefix("/api/models").strip("/").split("/")
    repository, rest = "/".join(words[:2]), words[2:]
    if words[1] in ERRORS:
        return *ERRORS[words[1]], b""
    if repository not in models:
        return 401, "RepoNotFound", b""
    if rest and rest[1] not in ("main", COMMIT):
        return 404, "RevisionNotFound", b""
    files = models[repository]
    if path.startswith("/api/"):
        siblings = [{"rfilename": name} for name in files]
        return 200, None, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
    name = "/".join(rest[2:])
    return (200, None, files[name]) if name in files else (404, "EntryNotFound", b"")


def main():
    """See above."""
    from keras_nest.conversion.hugging_face import fetch

    for handle in sys.argv[1:]:
        try:
            path = fetch(handle)
            print(path.name if path.is_file() else " ".join(sorted(each.name for each in path.iterdir())))
        except (OSError, ValueError, ImportError) as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
