"""Simon Willison's llm, at its command line and from Python."""

import os
import subprocess
import sys

import pytest

from conftest import QUESTION

MODELS = """
- model_id: lockstep
  model_name: {model}
  api_base: {base_url}
- model_id: lockstep-raw
  model_name: {model}
  api_base: {base_url}
  completion: true
"""


@pytest.fixture(scope="module")
def llm(server, tmp_path_factory):
    """Runs `llm` with a folder of its own."""
    folder = tmp_path_factory.mktemp("llm")
    (folder / "extra-openai-models.yaml").write_text(MODELS.format(model=server.model, base_url=server.base_url))
    environment = {**os.environ, "LLM_USER_PATH": str(folder)}
    environment.pop("OPENAI_API_KEY", None)

    def run(*words, code=0):
        finished = subprocess.run([sys.executable, "-m", "llm", *words], env=environment, capture_output=True, text=True)
        assert finished.returncode == code, finished
        return finished.stdout if code == 0 else finished.stderr

    return run


def test_models(llm):
    assert "lockstep" in llm("models", "list") and "lockstep-raw" in llm("models", "list")


@pytest.mark.parametrize("flags", [[], ["--no-stream"]])
def test_chat(llm, answered, flags):
    said = llm("-m", "lockstep", QUESTION, "-o", "max_tokens", "12", *flags)
    assert said == answered["text"] + "\n"


@pytest.mark.parametrize("flags", [[], ["--no-stream"]])
def test_completion(llm, generated, flags):
    said = llm("-m", "lockstep-raw", "Once upon a time", "-o", "max_tokens", "8", *flags)
    assert said == generated["text"] + "\n"


def test_a_conversation_goes_on(llm):
    llm("-m", "lockstep", "-s", "You are terse.", "My name is Ann.", "-o", "max_tokens", "8")
    assert llm("-c", "What is my name?", "-o", "max_tokens", "8").strip()
    assert "My name is Ann." in llm("logs", "-n", "2") and "usage" not in llm("logs", "-n", "1").lower()
    assert "input" in llm("logs", "-n", "1", "--usage")


def test_options_and_errors(llm):
    words = ["-m", "lockstep", "Write a line.", "-o", "max_tokens", "8", "-o", "temperature", "1", "-o", "seed", "3"]
    assert llm(*words) == llm(*words)
    assert "." not in llm("-m", "lockstep", QUESTION, "-o", "max_tokens", "20", "-o", "stop", ".")
    assert "100000 new ones" in llm("-m", "lockstep", "Hi", "-o", "max_tokens", "100000", code=1)
    assert "response_format" in llm("-m", "lockstep", "Hi", "-o", "json_object", "1", code=1)
