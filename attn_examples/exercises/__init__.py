"""Exercises with a checker that looks at what you wrote and names the mistake.

`check("softmax", softmax)` checks an answer, `exercises()` lists what there is. In a
terminal: `python -m attn_examples check softmax my_file.py`. A family of exercises is a
file: its tasks, the right answer, and the known mistakes as small pieces of wrong code.
"""

from attn_examples.exercises.checking import check, exercises
from attn_examples.exercises.report import Finding, Listing, Report

__all__ = ["Finding", "Listing", "Report", "check", "exercises"]
