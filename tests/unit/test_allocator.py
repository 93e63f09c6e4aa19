"""The pages that the engine's memory is in; see allocator.rs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# What a new process tells of its own memory, before anything is made for a vocabulary and afterwards.
TELLS = """
import fairlead._core

def arena():
    maps = [lines.split("\\n") for lines in open("/proc/self/smaps").read().split("VmFlags: ")]
    sizes = [line for part in maps for line in part if line.startswith("Size:")]
    flags = [part[0].split() for part in maps[1:]]
    print(next(" ".join(f) for size, f in zip(sizes, flags) if int(size.split()[1]) >= 1 << 20))

arena()
info = fairlead.TokenizerInfo([bytes([i]) for i in range(256)] + [b""], stop_token_ids=[256])
arena()
fairlead.GrammarCompiler(info)
arena()
"""


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or os.sysconf("SC_PAGE_SIZE") != 4096, reason="the kernel has no huge pages of 2 MB"
)
def test_what_is_made_for_a_vocabulary_is_in_huge_pages_and_what_steps_add_in_ordinary_ones() -> None:
    told = subprocess.run([sys.executable, "-c", TELLS], check=True, capture_output=True, text=True).stdout
    loaded, vocabulary, compiler = [line.split() for line in told.splitlines()]
    assert "hg" in loaded and "nh" not in loaded
    assert vocabulary == loaded
    assert "nh" in compiler and "hg" not in compiler
