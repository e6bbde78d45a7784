"""A Hugging Face hub on the loopback address, with a few models, which takes others.

python -m tests.conversion.fake_hub HANDLE … prints what `fetch` gives for each: its .keras file, the names of the files
in its directory, or its sentence.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import sys
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# May write into the repositories of "me".
TOKEN = "hf_of_me"
ERRORS = {"gated": (403, "GatedRepo"), "private": (401, "RepoNotFound"), "broken": (500, None)}


@contextlib.contextmanager
def serve(models, private=None):
    """Serves models, {"owner/name": {file name: bytes}}, to which come those that are published.

    Args:
        models: what there is.
        private: set of those that others do not see.

    Yields:
        The address, and the list of paths asked for.
    """
    asked, private, large = [], set() if private is None else private, {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            asked.append(f"{self.command} {self.path}")
            self.send(*find(models, self.path, private), body)

        def do_POST(self):
            self.take(lambda content: take(models, private, large, self, content))

        def do_PUT(self):
            self.take(lambda content: large.update({self.path.rpartition("/")[2]: content}) or (200, b""))

        def take(self, what):
            asked.append(f"{self.command} {self.path}")
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known = self.path.startswith("/lfs/") or self.headers.get("Authorization") == f"Bearer {TOKEN}"
            status, content = what(content) if known else (401, b"{}")
            self.send(status, None, content, body=True)

        def send(self, status, error, content, body):
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


def take(models, private, large, request, content):
    """Status and content of the answer to what is sent."""
    address, words = f"http://{request.headers['Host']}", request.path.strip("/").split("/")
    if request.path == "/api/validate-yaml":
        return 200, b'{"warnings": [], "errors": []}'
    if request.path == "/api/repos/create":
        told = json.loads(content)
        name = f"{told['organization']}/{told['name']}"
        if told["organization"] != "me":
            return 403, b"{}"
        if told.get("visibility") == "private" or told.get("private"):
            private.add(name)
        models.setdefault(name, {".gitattributes": b""})
        return 200, json.dumps({"url": f"{address}/{name}"}).encode()
    if request.path.endswith("/info/lfs/objects/batch"):
        objects = json.loads(content)["objects"]
        for each in objects:
            each["actions"] = {"upload": {"href": f"{address}/lfs/{each['oid']}"}}
        return 200, json.dumps({"transfer": "basic", "objects": objects}).encode()
    repository, action = "/".join(words[2:4]), words[4]
    if action == "preupload":
        files = [{"path": file["path"], "shouldIgnore": False} for file in json.loads(content)["files"]]
        for file in files:
            file["uploadMode"] = "lfs" if file["path"].endswith(".keras") else "regular"
        return 200, json.dumps({"files": files}).encode()
    lines = [json.loads(line) for line in content.splitlines()]
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            models[repository][value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            models[repository][value["path"]] = large[value["oid"]]
    return 200, json.dumps({"commitUrl": f"{address}/{repository}/commit/{COMMIT}", "commitOid": COMMIT}).encode()


def find(models, path, private=()):
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
        return (
            200,
            None,
            json.dumps(
                {"id": repository, "sha": COMMIT, "siblings": siblings, "private": repository in private}
            ).encode(),
        )
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
