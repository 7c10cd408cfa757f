"""What processes do in tests: they find it here, where a test's own module is not theirs to import."""

import os


def square(number):
    """Its square; some numbers are too much."""
    if number % 5 == 3:
        os.abort()
    if number == 100:
        raise ValueError("100 is no number")
    return number * number


def touch(folder, number):
    """Leave a file."""
    (folder / str(number)).touch()


def process_of(number):
    """Who does it."""
    return os.getpid()
