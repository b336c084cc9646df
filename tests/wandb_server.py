"""What of W&B's protocol a run's upload needs, on a loopback port: the real SDK talks to it."""

import gzip
import json
import re
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "k" * 40
PROJECT = {"id": "p", "name": "bnstudy", "entity": {"id": "e", "name": "me"}}


@dataclass
class Uploaded:
    """A run as the server knows it."""

    variables: dict[str, Any] = field(default_factory=dict)  # of its upserts: tags, group, ...
    history: list[str] = field(default_factory=list)  # by the line number they were sent to
    summary: str = "{}"
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempted: bool = False  # ever

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history]

    @property
    def config(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in json.loads(self.variables["config"]).items()}


class Server(ThreadingHTTPServer):
    """Keeps `runs` by id, `artifacts` and `alerts`; answers only those who have KEY."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.runs: dict[str, Uploaded] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}  # files by artifact
        self.alerts: list[tuple[str, str, str]] = []  # title, text, severity
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no fault."""

    def graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The answer to an operation; {} to what only asks for what the server can do."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        match found and found[1]:
            case "RunResumeStatus":
                known = self.runs.get(given["name"])
                return {
                    "model": PROJECT | {"bucket": known and resume_status(given["name"], known)}
                }
            case "UpsertBucket":
                run = self.runs.setdefault(given["name"], Uploaded())
                run.variables |= {key: value for key, value in given.items() if value is not None}
                bucket = {"id": given["name"], "name": given["name"], "project": PROJECT}
                bucket |= {"displayName": run.variables.get("displayName"), "config": "{}"}
                return {"upsertBucket": {"bucket": bucket, "inserted": True}}
            case "CreateRunFiles":
                names = {"runID": given["run"], "uploadHeaders": []}
                files = [
                    {"name": n, "uploadUrl": self.upload(given["run"], n)} for n in given["files"]
                ]
                return {"createRunFiles": names | {"files": files}}
            case "Viewer":
                return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}
            case "ArtifactType":  # it is not there yet
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                name = given["input"]["artifactCollectionName"]
                sequence = {"latestArtifact": None}
                self.artifacts[name] = {}
                made = {"id": name, "state": "PENDING", "artifactSequence": sequence}
                return {"createArtifact": {"artifact": made}}
            case "CreateArtifactManifest":
                file = self.file_of(given["artifactID"], given["name"])
                return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
            case "CreateArtifactFiles":
                files = given["input"]["artifactFiles"]
                edges = [{"node": self.file_of(f["artifactID"], f["name"])} for f in files]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                made = {"id": given["artifactID"], "digest": "d"}
                return {"commitArtifact": {"artifact": made}}
            case "NotifyScriptableRunAlert":
                self.alerts.append((given["title"], given["text"], given["severity"]))
                return {"notifyScriptableRunAlert": {"success": True}}
            case _:
                return {}

    def file_of(self, artifact: str, name: str) -> dict[str, Any]:
        """Where a file of an artifact goes to, in the form of a file of a run."""
        upload = {"uploadUrl": self.upload(artifact, name), "uploadHeaders": []}
        return {"name": name, "displayName": name, "artifact": {"id": artifact}} | upload

    def upload(self, run: str, name: str) -> str:
        return f"{self.url}/upload/{run}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body, server = self.body(), self.server
        if self.path != "/graphql" and not self.path.endswith("/file_stream"):
            return self.answer({}, 404)  # what the SDK reports about itself
        if (
            self.headers.get("Authorization")
            != f"Basic {b64encode(f'api:{KEY}'.encode()).decode()}"
        ):
            return self.answer({"errors": [{"message": "invalid API key"}]}, 401)
        given = json.loads(body)
        with server.lock:
            if self.path == "/graphql":
                data = server.graphql(given["query"], given.get("variables") or {})
                return self.answer({"data": data})
            stream(server.runs[self.path.split("/")[-2]], given)
            return self.answer({"exitcode": None, "limits": {}})

    def do_PUT(self) -> None:
        _, _, run, name = self.path.split("/", 3)
        body = self.body()
        with self.server.lock:
            if run in self.server.artifacts:
                self.server.artifacts[run][name] = body
            else:
                self.server.runs.setdefault(run, Uploaded()).files[name] = body
        self.answer({})

    def do_GET(self) -> None:
        self.answer({})

    def body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


def stream(run: Uploaded, given: dict[str, Any]) -> None:
    """Lines are put where the client says: the same ones sent again replace themselves."""
    for name, chunk in (given.get("files") or {}).items():
        start, lines = chunk["offset"], chunk["content"]
        if name == "wandb-history.jsonl":
            assert start <= len(run.history), "rows are missing"
            run.history[start : start + len(lines)] = lines
        elif name == "wandb-summary.json":
            run.summary = lines[-1]
    run.preempted |= given.get("preempting", False)
    run.exit_code = given.get("exitcode", run.exit_code)


def resume_status(name: str, run: Uploaded) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "displayName": run.variables.get("displayName"),
        "config": run.variables.get("config", "{}"),
        "tags": run.variables.get("tags", []),
        "notes": None,
        "summaryMetrics": run.summary,
        "historyLineCount": len(run.history),
        "historyTail": json.dumps(run.history[-1:]),
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "logLineCount": 0,
        "wandbConfig": '{"t": {}}',
    }
