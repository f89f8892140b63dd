"""The package from a terminal: `python -m attn_examples --help`."""

from __future__ import annotations

import argparse
import inspect
import os
import sys

import attn_examples
from attn_examples.exercises.commands import add_commands
from attn_examples.registry import ROOMS, mechanisms
from attn_examples.standalone import one_file


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status.

    0, 1 for not passed, 2 for wrong use; as after a signal, 130 when interrupted and 141
    when nobody reads on.
    """
    try:
        try:
            return run(arguments)
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # for what Python still flushes when it ends
        os.dup2(nowhere, sys.stdout.fileno())
        return 141


def run(arguments: list[str] | None) -> int:
    """Run a command; its wrong use prints one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m attn_examples", description=__doc__
    )
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    listing = commands.add_parser("list", help="list the mechanisms")
    listing.set_defaults(run=print_list)
    copy = commands.add_parser(
        "copy", help="print mechanisms as one file that needs torch alone"
    )
    copy.add_argument("names", metavar="NAME", nargs="*", help="as `list` shows it")
    copy.add_argument(
        "--checks",
        action="store_true",
        help="keep the checks of what torch refuses anyway",
    )
    copy.set_defaults(run=print_copy)
    add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return status


def print_list(options: argparse.Namespace) -> int:
    """Print each mechanism's object, step by step, with the first line of its docstring."""
    width = max(map(len, attn_examples.__all__))
    for step, title in ROOMS.items():
        print(title)
        own = [mechanism.object for mechanism in mechanisms() if mechanism.step == step]
        for name in dict.fromkeys(own):
            summary = (inspect.getdoc(getattr(attn_examples, name)) or "").splitlines()[
                0
            ]
            print(f"  {name:{width}}  {summary}")
    return 0


def print_copy(options: argparse.Namespace) -> int:
    """Print the file."""
    print(one_file(*options.names, checks=options.checks), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
