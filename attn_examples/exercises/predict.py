"""Exercises: say what comes out, before you run it."""

from __future__ import annotations

from attn_examples.exercises.answers import read_number, read_rows, read_whole_numbers
from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import ValueExercise, WrongValue

__all__: list[str] = []

_SCORES = "concepts/four-steps.html#one-example-step-by-step"
_SOFTMAX = "formulas/softmax-and-scale.html#smallest-example"
_COUNT = "formulas/multi-head.html#multi-head-parameters"
_TRIANGLE = "types/masks/causal.html#formula"
_ROWS = "formulas/masks.html#a-row-with-nothing-allowed"

PREDICT_SCORES_SHAPE = ValueExercise(
    name="predict-scores-shape",
    kind="predict",
    task="Batch 2, 3 heads, 5 queries, 7 keys, heads 4 wide: what is the shape of the scores?",
    form="a tuple of whole numbers, such as (1, 2, 3)",
    right=lambda: [2, 3, 5, 7],
    read=read_whole_numbers,
    wrong=lambda: (
        WrongValue(
            "no-heads", [2, 5, 7], "the shape without heads: each head has its own", _SCORES
        ),
        WrongValue("no-batch", [3, 5, 7], "the shape of one sequence, without the batch", _SCORES),
        WrongValue("one-map", [5, 7], "one map, of one head of one sequence", _SCORES),
        WrongValue(
            "transposed",
            [2, 3, 7, 5],
            "the shape of the transposed scores: rows are queries, columns are keys",
            "concepts/reading-maps.html#rows-are-queries-columns-are-keys",
        ),
        WrongValue("query", [2, 3, 5, 4], "the shape of the queries, and of the output", _SCORES),
        WrongValue("key", [2, 3, 7, 4], "the shape of the keys", _SCORES),
        WrongValue(
            "square", [2, 3, 5, 5], "right only if there were as many keys as queries", _SCORES
        ),
        WrongValue("keys-square", [2, 3, 7, 7], "the scores of the keys with themselves", _SCORES),
        WrongValue(
            "heads-second",
            [2, 5, 3, 7],
            "the shape with the heads behind the queries: they come right after the batch",
            _SCORES,
        ),
        WrongValue(
            "heads-first", [3, 2, 5, 7], "the shape with the heads before the batch", _SCORES
        ),
        WrongValue(
            "output", [2, 5, 12], "the shape of the output once the heads are joined", _SCORES
        ),
        WrongValue(
            "width",
            [2, 3, 4, 4],
            "the shape of q.mT @ k, were there as many keys as queries: it sums over positions",
            _SCORES,
        ),
    ),
    page=_SCORES,
    praise="One number for each sequence, head, query and key.",
)

PREDICT_WEIGHT = ValueExercise(
    name="predict-weight",
    kind="predict",
    task="Width 1; the query is log 3, the keys are 1 and 0. What is the weight of the first key?",
    form="a number",
    right=lambda: 0.75,
    read=read_number,
    wrong=lambda: (
        WrongValue("other-key", 0.25, "the weight of the second key", _SOFTMAX),
        WrongValue("even", 0.5, "the weight if both scores were equal", _SOFTMAX),
        WrongValue("score", 1.0986123, "the score, log 3, before the softmax", _SOFTMAX),
        WrongValue(
            "exponential", 3.0, "the exponential, before it is divided by the sum", _SOFTMAX
        ),
        WrongValue("ratio", 1 / 3, "the ratio of the two weights, not one of them", _SOFTMAX),
        WrongValue(
            "no-exponential",
            1.0,
            "the score divided by the sum of the scores, without the exponential",
            _SOFTMAX,
        ),
        WrongValue(
            "raw-three", 0.9525741, "the weight if the query were 3 and not log 3", _SOFTMAX
        ),
        WrongValue("query-one", 0.7310586, "the weight if the query were 1", _SOFTMAX),
        WrongValue(
            "log-10",
            0.6170632,
            "the weight with logarithms to base 10: log is the natural one",
            _SOFTMAX,
        ),
        WrongValue("percent", 75.0, "the weight in percent: weights sum to 1", _SOFTMAX),
        WrongValue("log-2", 0.6666667, "the weight if the query were log 2", _SOFTMAX),
    ),
    page=_SOFTMAX,
    praise="The exponentials are 3 and 1, so the weights are 3/4 and 1/4.",
)

PREDICT_ZERO_ROWS = ValueExercise(
    name="predict-zero-rows",
    kind="predict",
    task="4 queries and 4 keys, a causal mask, and padding at the LEFT: keys 0 and 1 are hidden. "
    "Which rows of the weights are all zero? Count from 0.",
    form="a list of row numbers, such as [3]",
    right=lambda: [0, 1],
    read=read_rows,
    wrong=lambda: (
        WrongValue("one-short", [0], "right for one hidden key; row 1 sees keys 0 and 1, and both "
                   "are hidden", _ROWS),
        WrongValue("none", [], "right without the padding: then each row has at least its own key",
                   _ROWS),
        WrongValue("padding-right", [2, 3], "the rows of the queries that do see a key", _ROWS),
        WrongValue("from-one", [1, 2], "the same rows counted from 1: count from 0", _ROWS),
        WrongValue("one-more", [0, 1, 2], "right if no query saw its own position: row 2 sees "
                   "key 2",
                   "types/masks/causal.html#formula"),
        WrongValue("inverted", [3], "the row that sees nothing if the causal mask is inverted",
                   f"{PITFALLS}/masks.html#the-mask-is-inverted"),
        WrongValue("all", [0, 1, 2, 3], "every row, but rows 2 and 3 see key 2", _ROWS),
    ),
    page=_ROWS,
    praise="A query of the padding sees itself and what comes before it, and all that is hidden.",
)  # fmt: skip

PREDICT_ZEROS = ValueExercise(
    name="predict-zeros",
    kind="predict",
    task="Length 5 and a causal mask: how many of the 25 softmax weights are exactly zero?",
    form="a whole number",
    right=lambda: 10,
    read=read_number,
    wrong=lambda: (
        WrongValue("allowed", 15, "how many are not zero", _TRIANGLE),
        WrongValue(
            "off-diagonal", 20, "how many lie off the diagonal: the past may be seen", _TRIANGLE
        ),
        WrongValue("half", 12.5, "half of 25: the diagonal is allowed, so it is less", _TRIANGLE),
        WrongValue(
            "half", 12, "about half of 25: the diagonal is allowed, so it is less", _TRIANGLE
        ),
        WrongValue("one-row", 4, "how many are zero in the first row alone", _TRIANGLE),
        WrongValue("beside", 6, "how many are zero if each query sees the next key too", _TRIANGLE),
        WrongValue("none", 0, "right without a mask", _TRIANGLE),
        WrongValue("length", 5, "the length, or the size of the diagonal", _TRIANGLE),
    ),
    page=_TRIANGLE,
    tolerance=1e-9,
    praise="4 + 3 + 2 + 1, everything above the diagonal.",
)

PREDICT_PARAMETERS = ValueExercise(
    name="predict-parameters",
    kind="predict",
    task="Multi-head attention with embed_dim 12 and 3 heads, four projections with bias: how many "
    "parameters?",
    form="a whole number",
    right=lambda: 624,
    read=read_number,
    wrong=lambda: (
        WrongValue("no-bias", 576, "the count without the biases", _COUNT),
        WrongValue("no-output", 468, "the count without the output projection",
                   f"{PITFALLS}/weights-and-heads.html#no-output-projection"),
        WrongValue("no-output-no-bias", 432, "the count without the output projection and without "
                   "biases", f"{PITFALLS}/weights-and-heads.html#no-output-projection"),
        WrongValue("times-heads", 1872, "three times as many: the heads share out the width, they "
                   "do not multiply it", _COUNT),
        WrongValue("times-heads-no-bias", 1728, "three times as many, and without the biases: the "
                   "heads share out the width, they do not multiply it", _COUNT),
        WrongValue("one-bias-missing", 612, "the count with three of the four biases", _COUNT),
        WrongValue("times-heads-inputs", 1848, "the count if each head's queries, keys and values "
                   "were 12 wide", _COUNT),
        WrongValue("small", 80, "the count for one head's slice of 4 numbers",
                   f"{PITFALLS}/projections-and-shapes.html#one-small-projection-for-all-heads"),
        WrongValue("small", 240, "the count if each head projected its own slice of 4 numbers",
                   f"{PITFALLS}/projections-and-shapes.html#one-small-projection-for-all-heads"),
        WrongValue("one", 156, "one projection of the four", _COUNT),
        WrongValue("one-no-bias", 144, "one matrix, without its bias", _COUNT),
        WrongValue("to-one-head", 208, "the count if each projection led to one head's width, 12 "
                   "to 4", _COUNT),
        WrongValue("output-bias", 588, "the count with a bias at the output projection "
                   "alone", _COUNT),
        WrongValue("averaged", 528, "the count if the heads were averaged, so that the output "
                   "projection is 4 to 12",
                   f"{PITFALLS}/weights-and-heads.html#heads-averaged-not-joined"),
    ),
    page=_COUNT,
    tolerance=1e-9,
    praise="Four times 12 * 12 + 12; the number of heads does not matter.",
)  # fmt: skip
