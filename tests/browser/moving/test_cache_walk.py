"""The KV cache, token by token: its counts are those of torch, its bytes torch's tensors'."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page
from torch.utils.flop_counter import FlopCounterMode

from attn_examples import CausalSelfAttention, KVCache
from attn_examples.figures import walk_cache
from attn_examples.figures.moving.cache_walk import _MODELS, _write_bytes
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle
from tests.browser.test_pages import SIDEWAYS


def figure(page: Page) -> Locator:
    return page.locator("main .moving")


def said(page: Page) -> str:
    return page.locator("output").inner_text()


def multiply_adds(call: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2


def test_what_a_step_computes_is_what_torch_counts(show: Showing) -> None:
    page = show(walk_cache(step=1))
    D, cache, sums = 16, KVCache(), [[0, 0], [0, 0]]
    layer = CausalSelfAttention(D).requires_grad_(False)
    x = torch.randn(1, 8, D)
    for t in range(1, 9):
        counted = (
            multiply_adds(lambda t=t: layer(x[:, :t], need_weights=True)),
            multiply_adds(lambda t=t: layer(x[:, t - 1 : t], cache=cache, need_weights=True)),
        )
        for cached in (False, True):
            ask = f"figure => [figure.work({t}, {str(cached).lower()}), "
            ask += f"figure.total({t}, {str(cached).lower()})]"
            (projected, scores), total = figure(page).evaluate(ask)
            # query, key and value of each token; a score and a share of the mix each pair
            assert 3 * D * D * projected + 2 * D * scores == counted[cached]
            sums[cached] = [sums[cached][0] + projected, sums[cached][1] + scores]
            assert total == sums[cached]


def test_bytes_are_those_of_torchs_tensors(show: Showing) -> None:
    page = show(walk_cache())
    for place, one in enumerate(_MODELS):
        for power in range(18):
            for heads in (one.kv_heads, one.heads, 1):
                kept = min(2**power, one.window or 2**power)
                shape = (one.layers, 2, heads, kept, one.head_dim)
                held = torch.empty(shape, dtype=torch.bfloat16, device="meta").nbytes
                ask = f"figure => figure.bytes({place}, {2**power}, {heads})"
                assert figure(page).evaluate(ask) == held
                if heads == one.kv_heads:
                    assert one.nbytes(2**power) == held
                written = figure(page).evaluate(f"figure => figure.written({held})")
                assert written == _write_bytes(held)


@pytest.mark.parametrize("place", range(len(_MODELS)))
def test_a_model_is_shown_with_its_formula_and_source(show: Showing, place: int) -> None:
    one = _MODELS[place]
    page = show(walk_cache())
    page.get_by_label("Model").select_option(str(place))
    slider = page.get_by_label("Tokens in the cache")
    slider.focus()
    page.keyboard.press("End")
    settle(page)
    assert slider.get_attribute("aria-valuetext") == "131072 tokens"
    text = page.locator(".sum").inner_text()
    kept = "4096 tokens (of 131072, a window)" if one.window else "131072 tokens"
    assert f"{one.layers} layers · {one.kv_heads} key head" in text
    assert f"· {one.head_dim} · {kept} · 2 bytes = {_write_bytes(one.nbytes(2**17))}" in text
    assert one.source in text
    bars = page.locator("svg.bytes text").all_text_contents()
    assert [bar for bar in bars if bar.startswith("▸")] == [
        f"▸ {one.kind()}, {one.kv_heads} key head{'s' if one.kv_heads > 1 else ''}"
    ]
    assert len(bars) == 2 * len({one.heads, one.kv_heads, 1})


def cells(page: Page) -> dict[str, int]:
    """Count the cells of each kind, without those of the legend."""
    found: dict[str, int] = page.locator("svg.walk").evaluate("""svg => ({
      lit: svg.querySelectorAll('rect[fill="#ffd24d"]').length - 2,
      dots: svg.querySelectorAll("circle").length - 1,
      crosses: svg.querySelectorAll("path").length - 1,
      kept: svg.querySelectorAll('rect[fill="#21918c"]').length - 1 })""")
    return found


def test_a_pointer_writes_token_by_token(show: Showing) -> None:
    page = show(walk_cache(step=1))
    for t in range(1, 9):
        settle(page)
        assert cells(page) == {
            "lit": 2 * t + t * t + 2 + t,
            "dots": 2 * t + t * (t + 1) // 2 + 2 + t,
            "crosses": t * (t - 1) // 2,
            "kept": 2 * (t - 1),
        }
        page.get_by_role("button", name="Write the next token").click()
    settle(page)
    assert said(page).startswith("Step 8 of 8, “\u2068slept\u2069”: without a cache 8 tokens")
    page.get_by_role("button", name="Back").click()
    settle(page)
    assert page.locator(".text").inner_text() == "the cat sat on the mat and"


def test_by_keyboard_alone(show: Showing) -> None:
    page = show(walk_cache(step=1))
    for key in ("Tab", "Enter", "Tab", "Enter", "Enter"):  # Back stops at the first
        page.keyboard.press(key)
    settle(page)
    assert said(page).startswith("Step 3 of 8")
    assert "3 tokens are projected and 9 scores computed; with one, 1 and 3." in said(page)
    for key in ("Tab", "ArrowDown", "Tab", "Home"):
        page.keyboard.press(key)
    settle(page)
    assert said(page).endswith("Llama 3 70B keeps 320 KiB for 1 token.")
    page.keyboard.press("Escape")
    settle(page)
    assert said(page).startswith("Step 1 of 8")
    assert said(page).endswith("Llama 3 8B keeps 1.00 GiB for 8192 tokens.")


def test_touch_at_360_pixels(show: Showing) -> None:
    page = show(walk_cache(), width=360, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Write the next token").tap()
    settle(page)
    assert said(page).startswith("Step 6 of 8")
    outside = page.evaluate("""() => [...document.querySelectorAll("svg.live *")]
      .filter((part) => { const box = part.getBoundingClientRect();
        return box.right > innerWidth || box.left < 0; }).map((part) => part.textContent)""")
    assert outside == []
    assert page.evaluate(SIDEWAYS) == []
