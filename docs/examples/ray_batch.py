"""A file of requests, answered and verified as tasks of Ray (https://www.ray.io; `pip install ray`).

Each task calls `lockstep` on some lines. A request is pure and its answer exact, so it does not matter which worker
computes it, nor how often: a task whose worker dies is run again, and the answers are those of a single run.
docs/scaling.md shows it.

    python ray_batch.py --input requests.jsonl --output answers.jsonl --kill-one --compare
"""

import argparse
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import ray

# What an answer says of how it was computed, and not of what came out.
HOW = ("line", "timings", "backend", "threads")
PR_SET_PDEATHSIG = 1


def lockstep(arguments, command, *more, stdin=None):
    """Runs a command of `lockstep`, which ends when its worker does; its exit code and its output."""
    end_with_worker = lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    line = [arguments.lockstep, command, "--model", arguments.model, "--threads", str(arguments.threads), *more]
    done = subprocess.run(line, input=stdin, capture_output=True, preexec_fn=end_with_worker)
    if done.returncode not in (0, 3, 4, 5):
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.decode()}")
    return done.returncode, done.stdout.decode()


def generate(arguments, lines):
    """The answers to these lines, in one run."""
    with tempfile.TemporaryDirectory() as folder:
        requests, answers = pathlib.Path(folder, "in.jsonl"), pathlib.Path(folder, "out.jsonl")
        requests.write_text("".join(lines), encoding="utf-8")
        more = ["--max-tokens", str(arguments.max_tokens)]
        lockstep(arguments, "generate", *more, "--input", str(requests), "--output", str(answers))
        return [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]


@ray.remote(num_cpus=1, max_retries=3)
def answer(arguments, lines, mark):
    """A task: answers these lines. `mark` is told which process does."""
    mark.write_text(str(os.getpid()))
    answers = generate(arguments, lines)
    mark.unlink()
    return answers


@ray.remote(num_cpus=1, max_retries=3)
def verify(arguments, receipts):
    """A task: the verdicts on these receipts, each computed again."""
    verdicts = []
    for receipt in receipts:
        # Its members stand in the order of canonical JSON already.
        canonical = json.dumps(receipt, separators=(",", ":"), ensure_ascii=False).encode()
        verdicts.append(json.loads(lockstep(arguments, "verify", "--json", "-", stdin=canonical)[1])["verdict"])
    return verdicts


def kill_one(marks):
    """Kills the process of a task that runs. A task is waited for that works for a moment already."""
    while not (running := [mark for mark in marks if mark.exists() and time.time() - mark.stat().st_mtime > 0.3]):
        time.sleep(0.05)
    pid = int(running[0].read_text())
    os.kill(pid, signal.SIGKILL)
    print(f"killed the worker {pid}, which answered the lines of {running[0].stem}")


def chunks(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]


def requests(count):
    """Lines that differ in prompt, seed and temperature."""
    subjects = ["The sea", "A small robot", "Once upon a time", "The capital of France", "Two trains"]
    for number in range(count):
        yield json.dumps(
            {"id": number, "prompt": subjects[number % 5], "seed": number, "temperature": number % 4 / 4}
        ) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lockstep", default="target/release/lockstep", help="the program")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct", help="the model folder")
    parser.add_argument("--threads", type=int, default=1, help="threads of each task")
    parser.add_argument("--max-tokens", type=int, default=8, help="tokens of each answer")
    parser.add_argument("--input", type=pathlib.Path, required=True, help="requests, as `lockstep generate --input` takes them")
    parser.add_argument("--make", type=int, metavar="N", help="write N requests to --input first")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the answers")
    parser.add_argument("--chunk", type=int, default=25, help="lines of a task")
    parser.add_argument("--kill-one", action="store_true", help="kill a worker in the middle")
    parser.add_argument("--verify", type=int, metavar="N", default=0, help="compute the first N answers again, from their receipts")
    parser.add_argument("--compare", action="store_true", help="answer everything in a single run too, and compare")
    arguments = parser.parse_args()
    # Workers have folders of their own.
    arguments.lockstep, arguments.model = (str(pathlib.Path(p).resolve()) for p in (arguments.lockstep, arguments.model))

    if arguments.make:
        arguments.input.write_text("".join(requests(arguments.make)), encoding="utf-8")
    lines = arguments.input.read_text(encoding="utf-8").splitlines(keepends=True)
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)

    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        parts = chunks(lines, arguments.chunk)
        marks = [pathlib.Path(folder, f"task-{number}") for number in range(1, len(parts) + 1)]
        tasks = [answer.remote(arguments, part, mark) for part, mark in zip(parts, marks)]
        if arguments.kill_one:
            kill_one(marks)
        answers = [answer for part in ray.get(tasks) for answer in part]
    for number, one in enumerate(answers, 1):
        one["line"] = number
    arguments.output.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in answers), encoding="utf-8")
    print(f"{len(answers)} lines answered by {len(parts)} tasks in {time.time() - start:.1f} s")
    failed = False

    if arguments.verify:
        start = time.time()
        receipts = [one["receipt"] for one in answers[: arguments.verify]]
        tasks = [verify.remote(arguments, part) for part in chunks(receipts, arguments.chunk)]
        verdicts = [verdict for part in ray.get(tasks) for verdict in part]
        matching = verdicts.count("MATCH")
        print(f"{matching} of {len(verdicts)} receipts: MATCH, in {time.time() - start:.1f} s")
        failed |= matching != len(verdicts)

    if arguments.compare:
        start = time.time()
        single = generate(arguments, lines)
        what = lambda one: {key: value for key, value in one.items() if key not in HOW}
        equal = sum(what(one) == what(other) for one, other in zip(answers, single, strict=True))
        print(f"{equal} of {len(single)} answers equal those of a single run, digests and receipts too ({time.time() - start:.1f} s)")
        failed |= equal != len(single)
    sys.exit(3 if failed else 0)


if __name__ == "__main__":
    main()
