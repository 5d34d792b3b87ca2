"""What the programs of this package read from their command lines."""

from __future__ import annotations

import argparse


def counts(parser: argparse.ArgumentParser, name: str, text: str) -> list[int]:
    """Returns the numbers of a list such as 1,2. Ends the program if one is none, or below 1."""
    try:
        numbers = [int(n) for n in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        parser.error(f"{name} {text!r}: must be numbers, 1 or more, with commas between them")
    return numbers
