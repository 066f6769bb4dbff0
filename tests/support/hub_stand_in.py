# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The part of the hub's API that a push needs, on this machine: it keeps the files of each commit."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class HubStandIn(ThreadingHTTPServer):
    """
    Attributes:
        repos (`dict[str, bool]`):
            Repositories, and whether they are private.
        commits (`list[dict]`):
            `repo`, `message`, `revision` and `files` (path -> content) of each commit.
        down (`set[str]`):
            Repositories to which nothing can be committed.
        unknown (`list[str]`):
            Requests that it has no answer to.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.commits, self.blobs, self.unknown, self.down = {}, [], {}, [], set()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def files(self, repo: str) -> dict[str, bytes]:
        """What is in a repository after all commits."""
        commits = [commit["files"] for commit in self.commits if commit["repo"] == repo]
        return {path: content for files in commits for path, content in files.items()}

    def messages(self, repo: str) -> list[str]:
        return [commit["message"] for commit in self.commits if commit["repo"] == repo]


class _Handler(BaseHTTPRequestHandler):
    server: HubStandIn

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def _answer(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if any(f"/{repo}/" in path for repo in self.server.down):
            self._send({"error": "down"}, 403)
        elif path == "/api/whoami-v2":
            self._send({"name": "me", "type": "user", "orgs": []})
        elif path == "/api/repos/create":
            sent = json.loads(body)
            name = f"{sent.get('organization') or 'me'}/{sent['name']}"
            self.server.repos[name] = sent.get("visibility") == "private"
            self._send({"url": f"{self.server.endpoint}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self._send({"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/.+", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(("safetensors", "bin")) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._send({"files": files, "commitOid": "0" * 40})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": file["oid"],
                    "size": file["size"],
                    "actions": {"upload": {"href": f"{self.server.endpoint}/blob/{file['oid']}"}},
                }
                for file in json.loads(body)["objects"]
            ]
            self._send({"transfer": "basic", "objects": objects})
        elif method == "PUT" and path.startswith("/blob/"):
            self.server.blobs[hashlib.sha256(body).hexdigest()] = body
            self._send({})
        elif commit := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(commit[1], commit[2], [json.loads(line) for line in body.splitlines()])
        else:
            self.server.unknown.append(f"{method} {path}")
            self._send({"error": "not in the stand-in"}, 404)

    def _commit(self, repo, revision, lines):
        files = {}
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.server.blobs[line["value"]["oid"]]
        message = next(line["value"]["summary"] for line in lines if line["key"] == "header")
        self.server.commits.append({"repo": repo, "message": message, "revision": revision, "files": files})
        url = f"{self.server.endpoint}/{repo}/commit/{len(self.server.commits):040d}"
        self._send({"success": True, "commitOid": f"{len(self.server.commits):040d}", "commitUrl": url})

    def _send(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
