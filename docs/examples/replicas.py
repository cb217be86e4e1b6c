"""Two replicas behind nginx, of which one is ended by SIGTERM while requests come in.

Every request gets its answer, and equal requests get equal digests, whichever replica answered. Talks to 127.0.0.1 only;
needs the Debian package nginx. docs/scaling.md shows it.

    python replicas.py --lockstep target/release/lockstep --model models/SmolLM2-135M-Instruct
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

PROXY, REPLICAS = 8080, (8081, 8082)
# Direct, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PROMPTS = ["The sea", "A small robot", "Once upon a time", "The capital of France", "Two trains"]


def get(port, path):
    return OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=120)


def wait_until_ready(port):
    while True:
        try:
            with get(port, "/api/status") as response:
                if json.load(response)["ready"]:
                    return
        except OSError:
            pass
        time.sleep(0.1)


def ask(port, number, tokens):
    """The events `token` of an answer, and its `done`."""
    query = urllib.parse.urlencode(
        {"prompt": PROMPTS[number % len(PROMPTS)], "max_tokens": tokens, "temperature": 0.8, "seed": number}
    )
    steps, event = [], None
    with get(port, f"/api/generate?{query}") as response:
        for line in response:
            field, _, value = line.decode().rstrip("\r\n").partition(": ")
            if field == "event":
                event = value
            elif field == "data" and event in ("token", "done"):
                data = json.loads(value)
                if event == "done":
                    return steps, data
                steps.append((data["tokenId"], data["logitsSha256"]))
    return steps, None


class Load:
    """Requests through the proxy; some of them are equal to each other."""

    def __init__(self, tokens, expected):
        self.tokens, self.expected = tokens, expected
        self.count, self.lock = collections.Counter(), threading.Lock()

    def one(self, number):
        """Asks until there is a whole answer, and compares it."""
        expected_steps, expected_transcript = self.expected[number % len(self.expected)]
        for _ in range(20):
            try:
                steps, done = ask(PROXY, number % len(self.expected), self.tokens)
            except (OSError, urllib.error.HTTPError) as error:
                self.add(f"asked again: {error}")
                time.sleep(0.2)
                continue
            if steps != expected_steps[: len(steps)]:
                return self.add("WRONG")
            if done is None or done["finishReason"] not in ("length", "stop"):
                # What came until then is right, and whoever asks again gets it again.
                self.add("asked again: the replica ended in the middle of the answer")
                continue
            equal = steps == expected_steps and done["transcriptSha256"] == expected_transcript
            return self.add("equal" if equal else "WRONG")
        self.add("without an answer")

    def add(self, what):
        with self.lock:
            self.count[what] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lockstep", default="target/release/lockstep", help="the program")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct", help="the model folder")
    parser.add_argument("--requests", type=int, default=200, help="requests through the proxy")
    parser.add_argument("--clients", type=int, default=8, help="clients at a time")
    parser.add_argument("--tokens", type=int, default=8, help="tokens of each answer")
    arguments = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        sys.exit("nginx is not there; install it: apt-get install nginx-light")

    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for port in REPLICAS:
                line = [arguments.lockstep, "serve", "--model", arguments.model, "--threads", "1", "--port", str(port)]
                processes.append(subprocess.Popen(line, stderr=subprocess.DEVNULL))
            configuration = pathlib.Path(__file__).with_name("nginx.conf").resolve()
            processes.append(subprocess.Popen([nginx, "-p", folder, "-e", "error.log", "-c", configuration]))
            for port in (*REPLICAS, PROXY):
                wait_until_ready(port)

            # What each of 20 different requests is answered with, by one replica, alone.
            expected = []
            for number in range(20):
                steps, done = ask(REPLICAS[0], number, arguments.tokens)
                expected.append((steps, done["transcriptSha256"]))

            load, start = Load(arguments.tokens, expected), time.time()
            with concurrent.futures.ThreadPoolExecutor(arguments.clients) as pool:
                asked = [pool.submit(load.one, number) for number in range(arguments.requests)]
                while load.count["equal"] < arguments.requests // 3:
                    time.sleep(0.01)
                print(f"SIGTERM to the replica on port {REPLICAS[0]} after {load.count['equal']} answers")
                processes[0].send_signal(signal.SIGTERM)
                ended = time.time()
                code = processes[0].wait(30)
                print(f"it ended after {time.time() - ended:.2f} s with code {code}")
                for one in asked:
                    one.result()
            print(f"{arguments.requests} requests by {arguments.clients} clients in {time.time() - start:.1f} s")
            for what, count in load.count.most_common():
                print(f"  {count:4} {what}")
            failed = load.count["equal"] != arguments.requests
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)
    sys.exit(3 if failed else 0)


if __name__ == "__main__":
    main()
