"""Servers for the tests, and what the command line says.

LOCKSTEP_CLIENTS_SERVER is the binary, LOCKSTEP_CLIENTS_MODEL the model folder; `tools test --only clients` sets both.
"""

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

# Nothing is fetched from anywhere, and no proxy stands between a client and a server on this machine.
for name in ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"]:
    os.environ[name] = "1"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

BINARY = os.environ["LOCKSTEP_CLIENTS_SERVER"]
MODEL = Path(os.environ["LOCKSTEP_CLIENTS_MODEL"]).resolve()
PATIENCE = 120
# This machine's own settings are none of the tests'.
for name in [name for name in os.environ if name.startswith("LOCKSTEP_")]:
    del os.environ[name]


class Server:
    """A server of its own; ended when the tests that use it are done."""

    def __init__(self, *arguments):
        command = [BINARY, "--log-level", "warn", "serve", "--port", "0", "--model", str(MODEL), *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.url = line.removeprefix("listening on ").strip().removesuffix("/web/")
        assert self.url.startswith("http://127.0.0.1:"), line
        self.base_url = f"{self.url}/v1"
        self.model = MODEL.name

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait_for(self, key, value):
        start = time.monotonic()
        while self.get("/api/status")[key] != value:
            assert time.monotonic() - start < PATIENCE, f"{key} did not become {value}"
            time.sleep(0.01)
        return time.monotonic() - start

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stderr.close()


@pytest.fixture(scope="session")
def server():
    server = Server()
    server.wait_for("ready", True)
    yield server
    server.end()


@pytest.fixture
def start():
    """Starts further servers, which may still be loading."""
    servers = []

    def start(*arguments):
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def lockstep(command, *arguments):
    """The JSON lines that a command prints."""
    words = [BINARY, command, "--model", str(MODEL), *arguments, "--json"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture(scope="session")
def generated():
    """What `lockstep generate` says after "Once upon a time"."""
    return lockstep("generate", "--prompt", "Once upon a time", "--max-tokens", "8")[0]


@pytest.fixture(scope="session")
def answered(tmp_path_factory):
    """What `lockstep generate` says to a question."""
    file = tmp_path_factory.mktemp("messages") / "messages.json"
    file.write_text(json.dumps([{"role": "user", "content": QUESTION}]))
    return lockstep("generate", "--messages", str(file), "--max-tokens", "12")[0]


QUESTION = "What is the capital of France?"
