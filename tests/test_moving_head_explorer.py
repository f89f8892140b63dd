"""What the head explorer refuses, and what it keeps of weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attn_examples.figures import explore_heads
from attn_examples.figures.moving.head_explorer import _hundredths, _measures

TOKENS = [["[CLS]", "a", "[SEP]"], ["[CLS]", "[SEP]"]]
MAPS = [torch.full((2, 3, len(t), len(t)), 1 / len(t)) for t in TOKENS]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"maps": MAPS[0]}, TypeError, r"maps \(Tensor\) must be a sequence of one Tensor"),
        ({"maps": []}, TypeError, r"maps \(list\) must be a sequence of one Tensor"),
        ({"maps": [MAPS[0], 3]}, TypeError, r"maps\[1\] \(int\) must be a torch.Tensor"),
        ({"maps": [MAPS[0].long(), MAPS[1]]}, ValueError, r"maps\[0\] \(torch.int64\)"),
        ({"maps": [MAPS[0][0], MAPS[1]]}, ValueError,
         r"maps\[0\] has shape \(3, 3, 3\) but must be \(layers, heads, T, T\)"),
        ({"maps": [MAPS[0][..., :2], MAPS[1]]}, ValueError, r"maps\[0\] has shape \(2, 3, 3, 2\)"),
        ({"maps": [MAPS[0], MAPS[1][:, :2]]}, ValueError,
         r"maps\[1\] has shape \(2, 2, 2, 2\) but maps\[0\] has \(2, 3, 3, 3\)"),
        ({"maps": [2 * MAPS[0], MAPS[1]]}, ValueError, r"maps\[0\] holds what are no weights"),
        ({"maps": [MAPS[0], MAPS[1] - 1]}, ValueError, r"maps\[1\] holds what are no weights"),
        ({"maps": [MAPS[0] * torch.nan, MAPS[1]]}, ValueError, r"maps\[0\] holds what are no"),
        ({"tokens": TOKENS[:1]}, ValueError, "tokens has 1 sentences but maps has 2 of them"),
        ({"tokens": [TOKENS[1]] * 2}, ValueError, r"tokens\[0\] has 2 labels but the map has 3"),
        ({"tokens": 3}, TypeError, r"tokens \(int\) must be a sequence of the tokens"),
        ({"tokens": [3, TOKENS[1]]}, TypeError, r"tokens\[0\] \(int\) must be a sequence"),
        ({"measures": [1]}, TypeError, r"measures \(list\) must be a dict of names and tensors"),
        ({"measures": {3: torch.ones(2, 3)}}, TypeError, r"a name in measures \(int\)"),
        ({"measures": {"x": [1.0]}}, TypeError, r"measures\['x'\] \(list\) must be a torch.Tensor"),
        ({"measures": {"x": torch.ones(3, 2)}}, ValueError,
         r"measures\['x'\] has shape \(3, 2\) but must be \(2, 3\)"),
        ({"measures": {"x": torch.full((2, 3), torch.inf)}}, ValueError,
         r"measures\['x'\] holds what is not finite"),
        ({"head": (2, 0)}, ValueError, r"head: layer \(2\) must be from 0 to 1"),
        ({"head": (0, 3)}, ValueError, r"head: head \(3\) must be from 0 to 2"),
        ({"head": (0, 0.5)}, TypeError, r"head: head \(0.5\) must be a whole number"),
        ({"head": 3}, TypeError, r"head \(int\) must be a layer and a head"),
        ({"head": (1,)}, ValueError, r"head \(\(1,\)\) must be a layer and a head"),
        ({"framed": [(0, 7)]}, ValueError, r"framed: head \(7\) must be from 0 to 2"),
        ({"chosen": [0]}, ValueError, "chosen has 1 tokens but there are 2 sentences"),
        ({"chosen": [0, 2]}, ValueError, "chosen holds 2 but that sentence has tokens 0 to 1"),
        ({"chosen": [0, "a"]}, TypeError, r"chosen \('a'\) must be a whole number"),
        ({"chosen": 3}, TypeError, r"chosen \(int\) must be a sequence of one token for each"),
        ({"framed": 3}, TypeError, r"framed \(int\) must be a sequence of layers and heads"),
        ({"link": 3}, TypeError, r"link \(int\) must be a str"),
        ({"link": "a b"}, ValueError, r"link \('a b'\) must be letters, digits and hyphens"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_a_sentence(
    changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    arguments: dict[str, Any] = {"maps": MAPS, "tokens": TOKENS}
    with pytest.raises(error, match=said) as caught:
        explore_heads(**arguments | changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_hundredths_sum_to_a_hundred_and_lie_within_one(seed: int) -> None:
    torch.manual_seed(seed)
    weights = (10.0 ** (seed - 2) * torch.randn(50, 40, dtype=torch.float64)).softmax(-1)
    weights[:, ::3] = 0
    weights /= weights.sum(-1, keepdim=True)
    found = _hundredths(weights)
    assert (found.sum(-1) == 100).all()
    assert (found - 100 * weights).abs().max() < 1
    assert (found[weights == 0] == 0).all()


def test_measures_are_what_their_names_say() -> None:
    T = 5
    kinds = [
        torch.eye(T).roll(-1, 1),  # the token before; the first goes round
        torch.eye(T).roll(1, 1),  # the token after
        torch.eye(T)[:1].expand(T, T),  # [CLS]
        torch.eye(T)[-1:].expand(T, T),  # [SEP]
        torch.full((T, T), 1 / T),  # all
    ]
    maps = torch.stack(kinds)[None].double()
    found = _measures([maps], [["[CLS]", "a", "b", "c", "[SEP]"]])
    assert list(found) == ["token before", "token after", "[CLS]", "[SEP]", "breadth"]
    for at, name in enumerate(found):
        assert found[name][0, at] == pytest.approx(1)
        assert found[name].argmax() == at
    assert found["breadth"][0, 2] == 0
    assert found["[CLS]"][0, 4] == pytest.approx(0.2)
    assert not math.isnan(sum(map(torch.sum, found.values())))
