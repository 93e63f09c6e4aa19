"""The page of `fairlead.testing` is its docstring: the code there runs as it stands."""

from __future__ import annotations

import re

import fairlead.testing
import pytest

pytest.importorskip("hypothesis")

EXAMPLES = re.findall(r"^```python\n(.*?)^```$", fairlead.testing.__doc__ or "", re.S | re.M)


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(code):
    exec(compile(code, "fairlead.testing", "exec", dont_inherit=True), {"__name__": "__main__"})


def test_every_name_is_on_the_page():
    assert len(EXAMPLES) >= 6
    missing = [name for name in fairlead.testing.__all__ if name not in str(fairlead.testing.__doc__)]
    assert missing == ["ScriptedCall"]
