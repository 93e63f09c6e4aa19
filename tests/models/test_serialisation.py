"""Models as dictionaries, and back: nothing lost but secrets."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import fairlead.models as ours
import pytest
from fairlead.errors import ConfigurationError, ModelError, RateLimitError
from fairlead.messages import ChatMessage, MessageRole
from fairlead.models import (
    REMOVE_PARAMETER,
    FallbackModel,
    Model,
    TransformersModel,
    _registry,
    load_model,
    register_model,
    save_model,
)
from fairlead.models._saving import is_secret


class Own(Model):
    """A user's class."""

    _saved = {"base_url": None, "custom_role_conversions": {}}  # noqa: RUF012

    def __init__(self, base_url: str | None = None, custom_role_conversions: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base_url = base_url
        self.custom_role_conversions = custom_role_conversions or {}

    def generate(self, messages: Any, stop_sequences: Any = None) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, content=self.model_id)


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Any:
    theirs = pytest.importorskip("smolagents.models").MODEL_REGISTRY
    kept = [(registry, dict(registry)) for registry in (theirs, ours.MODEL_REGISTRY, _registry.REGISTERED)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


def round_trip(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saved = json.loads(json.dumps(save_model(model)))
    return load_model(saved)


def test_a_registered_class_keeps_everything():
    register_model(Own)
    assert ours.MODEL_REGISTRY["Own"] is Own
    model = Own(
        base_url="http://127.0.0.1:1/v1",
        custom_role_conversions={MessageRole.SYSTEM: MessageRole.USER},
        model_id="m",
        flatten_messages_as_text=True,
        tool_name_key="tool",
        temperature=0.5,
        stop=REMOVE_PARAMETER,
        folder=pathlib.PurePosixPath("/models"),
        extra_body={"top_k": 4, "max_tokens": 3},
    )
    again = round_trip(model)
    assert type(again) is Own
    assert again.base_url == model.base_url
    assert again.custom_role_conversions == {"system": "user"} == model.custom_role_conversions
    assert (again.model_id, again.flatten_messages_as_text, again.tool_name_key) == ("m", True, "tool")
    assert again.kwargs["stop"] is REMOVE_PARAMETER
    assert again.kwargs["extra_body"] == {"top_k": 4, "max_tokens": 3} and again.kwargs["folder"] == "/models"
    assert again.to_dict() == model.to_dict()
    # The code that smolagents generates writes the values with repr().
    assert eval(repr(model.to_dict())) == model.to_dict()


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "api_key",
        "azure_ad_token",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_access_key_id",
        "password",
        "Authorization",
        "X-Api-Key",
        "hf_token",
        "Cookie",
        "client_secret",
    ],
)
def test_secrets_are_left_out_wherever_they_stand(name):
    model = Own(**{name: "s3cret"}, client_kwargs={"headers": {name: "s3cret", "x": [{name: "s3cret"}]}, "timeout": 5})
    with pytest.warns(UserWarning, match="isn't saved; pass it again"):
        data = model.to_dict()
    assert "s3cret" not in json.dumps(data)
    assert data["client_kwargs"] == {"headers": {"x": [{}]}, "timeout": 5}


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "token_budget", "pad_token", "eos_token", "top_k"])
def test_tokens_of_a_text_are_no_secrets(name):
    assert not is_secret(name)


def test_what_is_no_json_is_named_without_its_value():
    class Client:
        def __repr__(self) -> str:
            return "Client(api_key=s3cret)"

    with pytest.warns(UserWarning) as caught:
        data = Own(http=Client(), model_id="m").to_dict()
    assert "http" not in data and data["model_id"] == "m"
    assert "s3cret" not in str(caught[0].message) and "http (a Client)" in str(caught[0].message)


def test_transformers_model(tiny_dir):
    options = {
        "device_map": "cpu",
        "torch_dtype": "float32",
        "max_new_tokens": 7,
        "model_kwargs": {"attn_implementation": "eager"},
        "apply_chat_template_kwargs": {"enable_thinking": False},
        "reasoning": ["<think>", "</think>"],
        "prefix_cache_bytes": 0,
        "tool_name_key": "tool",
    }
    again = round_trip(TransformersModel(tiny_dir, **options))
    assert isinstance(again, TransformersModel)
    data = again.to_dict()
    assert {name: data[name] for name in options} == options


def test_fallback_keeps_its_children():
    register_model(Own)
    model = FallbackModel([Own(model_id="a"), FallbackModel([Own(model_id="b")])], on=(RateLimitError, OSError))
    again = round_trip(model)
    assert [type(child) for child in again.models] == [Own, FallbackModel]
    assert again.models[1].models[0].model_id == "b"
    assert again._on == (RateLimitError, OSError)
    assert round_trip(FallbackModel([Own()]))._on == FallbackModel([Own()])._on
    with pytest.warns(UserWarning, match="on= isn't saved"):
        FallbackModel([Own()], on=lambda error: True).to_dict()

    class MyError(ModelError):
        pass

    with pytest.warns(UserWarning, match="on= isn't saved"):
        FallbackModel([Own()], on=MyError).to_dict()


def test_what_cant_be_registered_or_loaded():
    with pytest.raises(ConfigurationError, match="from_dict"):
        register_model(int)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="is taken"):
        register_model(type("TransformersModel", (Own,), {"__module__": "mine"}))
    with pytest.raises(ConfigurationError, match="no model class Nobody"):
        load_model({"class": "Nobody", "data": {}})
    with pytest.raises(ConfigurationError, match="a saved model is"):
        load_model({"data": {}})


def test_agents_with_fairlead_models_are_saved_and_loaded_by_smolagents(tmp_path):
    import smolagents

    register_model(Own)
    model = FallbackModel([Own(model_id="a", temperature=0.5), Own(model_id="b")])
    agent = smolagents.CodeAgent(tools=[], model=model, verbosity_level=0)
    again = smolagents.CodeAgent.from_dict(json.loads(json.dumps(agent.to_dict())))
    assert type(again.model) is FallbackModel
    assert [child.model_id for child in again.model.models] == ["a", "b"]
    assert again.model.models[0].kwargs == {"temperature": 0.5}

    agent.save(tmp_path / "agent")
    loaded = smolagents.CodeAgent.from_folder(tmp_path / "agent")
    assert type(loaded.model) is FallbackModel and loaded.model.to_dict() == model.to_dict()
    # What the generated script passes to the constructor.
    assert FallbackModel(**model.to_dict()).to_dict() == model.to_dict()


def test_agents_of_smolagents_still_load_its_own_classes(tiny_dir, monkeypatch):
    import smolagents
    import smolagents.models as theirs

    TransformersModel(tiny_dir, device_map="cpu")
    data = smolagents.CodeAgent(tools=[], model=theirs.OpenAIModel("gpt", api_key="x"), verbosity_level=0).to_dict()
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert type(smolagents.CodeAgent.from_dict(data).model) is theirs.OpenAIModel


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("OpenAIModel", {"api_base": "http://127.0.0.1:1/v1", "organization": "o", "client_kwargs": {"timeout": 3}}),
        ("AzureOpenAIModel", {"azure_endpoint": "http://127.0.0.1:1", "api_version": "2024-10-21"}),
        ("InferenceClientModel", {"provider": "together", "timeout": 7, "custom_role_conversions": {"system": "user"}}),
    ],
)
def test_remote_models_keep_their_address_and_lose_their_key(name, options):
    pytest.importorskip("huggingface_hub" if name == "InferenceClientModel" else "openai")
    model = getattr(ours, name)("m", api_key="sk-s3cret", requests_per_minute=60, **options)
    with pytest.warns(UserWarning, match="isn't saved; pass it again"):
        saved = json.loads(json.dumps(save_model(FallbackModel([model]))))
    assert "s3cret" not in str(saved)
    (child,) = saved["data"]["models"]
    assert child["class"] == name
    assert {key: child["data"][key] for key in options} == options and child["data"]["requests_per_minute"] == 60
    child["data"]["api_key"] = "sk-0ther"
    (again,) = load_model(saved).models
    with pytest.warns(UserWarning, match="isn't saved; pass it again"):
        assert again.to_dict() == {key: value for key, value in child["data"].items() if key != "api_key"}
