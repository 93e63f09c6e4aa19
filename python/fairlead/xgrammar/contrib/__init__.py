"""Grammars for other libraries' generation."""

from __future__ import annotations

from fairlead.xgrammar.contrib import hf

__all__ = ["hf"]
