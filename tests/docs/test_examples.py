"""The code in the README runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# One that is marked so goes on from the one before it.
FENCE = re.compile(r"^```python( continued)?\n(.*?)^```$", re.S | re.M)


def examples() -> list[tuple[str, int, str]]:
    found = []
    for name in ("README.md",):
        text = (ROOT / name).read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line, code = text.count("\n", 0, match.start(2)) + 1, match[2]
            if match[1]:
                _, begin, before = found[-1]
                code = before + "\n" * (line - begin - before.count("\n")) + code
                line = begin
            found.append((name, line, code))
    return found


@pytest.mark.parametrize(("name", "line", "code"), examples(), ids=lambda value: str(value)[:12])
def test_example(name, line, code, tmp_path, monkeypatch):
    for package in ("torch", "transformers", "smolagents", "pydantic"):
        if re.search(rf"^from {package}|^import {package}", code, re.M) or package in ("torch", "transformers"):
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    # Lines are counted as in the file, so that a traceback leads there.
    compiled = compile("\n" * (line - 1) + code, str(ROOT / name), "exec", dont_inherit=True)
    exec(compiled, {"__name__": "__main__"})


def test_there_are_examples():
    assert len(examples()) >= 5
