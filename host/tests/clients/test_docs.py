"""The examples of docs/http-api.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/http-api.md"
# A model is named after its folder, and the tests have another.
NAMED_IN_DOCS = '"SmolLM2-135M-Instruct"'
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_examples():
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"} and len(BLOCKS) > 4


@pytest.mark.parametrize("kind, code", BLOCKS)
def test_an_example_runs(server, kind, code):
    code = code.replace("http://localhost:8080", server.url).replace(NAMED_IN_DOCS, json.dumps(server.model))
    words = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
    finished = subprocess.run(words, capture_output=True, text=True)
    assert finished.returncode == 0 and finished.stdout.strip(), finished
    assert '"error"' not in finished.stdout, finished.stdout
