"""A package that isn't installed: the error names the extra that brings it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fairlead.errors import MissingDependencyError

CASES = [
    ("openai", "OpenAIModel", {}, "openai"),
    ("openai", "AzureOpenAIModel", {}, "openai"),
    ("huggingface_hub", "InferenceClientModel", {}, "huggingface"),
    ("litellm", "LiteLLMModel", {}, "litellm"),
    ("litellm", "LiteLLMRouterModel", {"model_list": []}, "litellm"),
    ("boto3", "AmazonBedrockModel", {}, "bedrock"),
]


@pytest.mark.parametrize(("package", "name", "arguments", "extra"), CASES, ids=[name for _, name, _, _ in CASES])
def test_the_extra_is_named(monkeypatch, package, name, arguments, extra):
    from fairlead import models

    made = getattr(models, name)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    # What None stands for can't be imported, whether or not it is installed.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as caught:
        made(model_id="m", **arguments)
    assert f"fairlead[{extra}]" in str(caught.value) and package in str(caught.value)
    assert name in str(caught.value) and isinstance(caught.value, ImportError)


def test_tenacity_is_part_of_each_extra(monkeypatch):
    pytest.importorskip("openai")
    from fairlead.models import OpenAIModel

    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(MissingDependencyError, match=r"fairlead\[openai\]"):
        OpenAIModel("m", api_key="k")


def test_importing_the_package_needs_none_of_them():
    code = (
        "import sys\n"
        "for name in ('openai', 'huggingface_hub', 'litellm', 'boto3', 'tenacity', 'smolagents', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "import fairlead, fairlead.models\n"
        "from fairlead import OpenAIModel, InferenceClientModel, LiteLLMModel, AmazonBedrockModel, AzureOpenAIModel\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
