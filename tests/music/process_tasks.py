"""Tasks for worker processes in tests. Workers can import this module, but not a test module."""

import os
import time


def square(number):
    """Square a number; some numbers crash the process."""
    if number % 5 == 3:
        os.abort()
    if number == 100:
        raise ValueError("100 is no number")
    return number * number


def touch(folder, number):
    """Create a file named after the number."""
    (folder / str(number)).touch()


def process_of(number):
    """The id of the process that runs this."""
    return os.getpid()


def slow_and_large(number):
    """The id of the process that runs this, after half a second, and more than fits into a pipe."""
    time.sleep(0.5)
    return os.getpid(), bytes(2**20)
