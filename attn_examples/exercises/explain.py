"""Exercises: explain in your own words, then judge statements, true or false."""

from __future__ import annotations

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import Statement, StatementExercise

__all__: list[str] = []

_FAR = "concepts/why-attention.html"
_ROLES = "concepts/queries-keys-values.html"
_SCALE_PAGE = "formulas/softmax-and-scale.html"

EXPLAIN_LONG_SEQUENCES = StatementExercise(
    name="explain-long-sequences",
    task="Why is self-attention better than an RNN for long sequences, and what does it pay?",
    statements=(
        Statement(
            "In self-attention any two positions are one step apart, however long the sequence is.",
            True,
            "each query meets each key directly",
            f"{_FAR}#far-back",
        ),
        Statement(
            "In an RNN the first token reaches the last output through every state between them.",
            True,
            "that is the long path along which gradients can shrink",
            f"{_FAR}#far-back",
        ),
        Statement(
            "An RNN cannot use the beginning of a long sequence at all.",
            False,
            "it can where little has to be kept; it is hard to train, not impossible",
            f"{_FAR}#rnns-are-not-hopeless",
        ),
        Statement(
            "Twice the length costs self-attention twice the scores.",
            False,
            "it is four times: every query meets every key",
            f"{_FAR}#the-price",
        ),
        Statement(
            "While it trains, self-attention computes all positions at once; a plain RNN cannot.",
            True,
            "its step t needs the state of step t - 1",
            f"{_FAR}#all-at-once",
        ),
        Statement(
            "Self-attention knows the order of the tokens without being told.",
            False,
            "shuffled input gives the same output, shuffled; the order has to be told",
            "formulas/positional-encoding.html#attention-takes-its-input-as-a-set",
        ),
    ),
    key=(
        "The path is short: two positions are one step apart, in an RNN as many as their distance.",
        "It is parallel: all positions are computed at once while it trains.",
        "Nothing has to fit into one state of fixed width.",
        "The price: the square of the length, and the order has to be told.",
    ),
    page=_FAR,
)

EXPLAIN_QUERY_KEY_VALUE = StatementExercise(
    name="explain-query-key-value",
    task="What are queries, keys and values for, and what would one vector for all three lose?",
    statements=(
        Statement(
            "The key is what a position can be found by; the value is what it passes on.",
            True,
            "key and query decide the weight, and the values are what is averaged",
            f"{_ROLES}#who-does-what",
        ),
        Statement(
            "The weights depend on the values.",
            False,
            "they depend on queries and keys alone",
            f"{_ROLES}#who-does-what",
        ),
        Statement(
            "If query and key are the same vector, the scores are symmetric.",
            True,
            "q . k does not change when the two are exchanged",
            f"{_ROLES}#the-scores-go-both-ways",
        ),
        Statement(
            "Queries, keys and values must all have the same width.",
            False,
            "queries and keys must, for the dot product; values may differ",
            "formulas/scaled-dot-product.html#from-the-sentence-to-matrices",
        ),
        Statement(
            "There are always as many values as keys.",
            True,
            "each key stands for one value",
            f"{_ROLES}#who-does-what",
        ),
        Statement(
            "In cross-attention the keys come from the sequence that asks.",
            False,
            "the queries do; keys and values come from the other sequence",
            "types/heads/cross.html#formula",
        ),
    ),
    key=(
        "The query is what a position looks for.",
        "The key is what a position can be found by; query and key together make the score.",
        "The value is what a position passes on when it is found.",
        "With one vector for all three, scores are symmetric, among equal lengths each token "
        "prefers itself, and what is found is what is fetched.",
    ),
    page=_ROLES,
)

EXPLAIN_SCALE = StatementExercise(
    name="explain-scale",
    task="Why are scores divided by the square root of head_dim?",
    statements=(
        Statement(
            "Without the scale, wider heads of independent numbers give scores a larger variance.",
            True,
            "the variance of a sum of head_dim independent products is head_dim times that of one",
            f"{_SCALE_PAGE}#why-the-square-root-of-head-dim",
        ),
        Statement(
            "Scores that lie far apart make the softmax nearly one-hot, and its gradient small.",
            True,
            "where one weight is near 1, the derivatives of all are near 0",
            f"{_SCALE_PAGE}#what-happens-without-the-scale",
        ),
        Statement(
            "The scale keeps the weights of a row summing to 1.",
            False,
            "the softmax does that, whatever the scale",
            f"{_SCALE_PAGE}#smallest-example",
        ),
        Statement(
            "With 8 heads and embed_dim 512 the divisor is the square root of 512.",
            False,
            "it is the square root of head_dim, 64, which is 8",
            f"{PITFALLS}/scores.html#scaled-by-the-width-of-the-model",
        ),
        Statement(
            "Dividing after the softmax would do the same.",
            False,
            "then the rows would no longer sum to 1, and the softmax would be as sharp as before",
            f"{_SCALE_PAGE}#temperature",
        ),
    ),
    key=(
        "A dot product is a sum of head_dim products; for independent numbers of variance 1 its "
        "variance is head_dim.",
        "Dividing by the square root of head_dim brings the variance back to 1.",
        "Without it, the softmax of very wide heads is nearly one-hot in most rows, and its "
        "gradient vanishes.",
        "The argument holds for independent numbers, so at best at the beginning of training.",
    ),
    page=f"{_SCALE_PAGE}#why-the-square-root-of-head-dim",
)
