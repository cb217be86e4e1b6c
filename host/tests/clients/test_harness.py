"""lm-evaluation-harness, `local-completions`, on a small task of our own.

Its scores are those of `lockstep score`, whatever the batch size, the number of threads, and the form of the prompts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import MODEL, lockstep

TASKS = Path(__file__).parent / "harness"


def evaluate(server, folder, batch_size, tokenized, concurrent=1):
    """The results, and what was answered to every document, without the clock."""
    arguments = {
        "model": server.model,
        "base_url": f"{server.base_url}/completions",
        "tokenizer": MODEL,
        "tokenizer_backend": "huggingface",
        "tokenized_requests": tokenized,
        "num_concurrent": concurrent,
        "max_length": 2048,
    }
    words = [sys.executable, "-m", "lm_eval", "--model", "local-completions"]
    words += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    words += ["--tasks", "lockstep_capitals,lockstep_stories", "--include_path", TASKS]
    words += ["--batch_size", str(batch_size), "--log_samples", "--output_path", folder]
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "OPENAI_API_KEY": "any"}
    finished = subprocess.run(words, env=environment, cwd=TASKS, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (file,) = folder.rglob("results_*.json")
    scores = json.loads(file.read_text())["results"]
    samples = {}
    for file in sorted(folder.rglob("samples_*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        name = file.name.rsplit("_", 1)[0]
        samples[name] = sorted((line["doc_id"], line["resps"], line["filtered_resps"]) for line in lines)
    return scores, samples


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """With one thread and one prompt in each request."""
    from conftest import Server

    server = Server("--threads", "1")
    server.wait_for("ready", True)
    yield evaluate(server, tmp_path_factory.mktemp("one"), 1, True)
    server.end()


def test_scores_are_those_of_the_command_line(one_by_one, tmp_path):
    scores, samples = one_by_one
    documents = [json.loads(line) for line in (TASKS / "capitals.jsonl").read_text().splitlines()]
    (name,) = [name for name in samples if "capitals" in name]
    data = tmp_path / "data.jsonl"
    pairs = [
        {"prompt": f"The capital of {document['country']} is", "completion": f" {choice}"}
        for document in documents
        for choice in document["choices"]
    ]
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    lines = lockstep("score", "--data", str(data))[:-1]
    told = [(float(choice[0][0]), choice[0][1]) for _, choices, _ in samples[name] for choice in choices]
    expected = [(sum(value for value in line["logprobs"] if value is not None), line["greedy"]) for line in lines]
    assert [(value, str(greedy)) for value, greedy in expected] == [(value, str(greedy)) for value, greedy in told]
    assert scores["lockstep_capitals"]["acc,none"] >= 0.5


@pytest.mark.parametrize("batch_size, tokenized, concurrent", [(4, True, 1), (1, False, 1), (3, False, 4)])
def test_nothing_else_changes_a_score(server, one_by_one, tmp_path, batch_size, tokenized, concurrent):
    """The other server computes with all threads."""
    assert evaluate(server, tmp_path, batch_size, tokenized, concurrent) == one_by_one
