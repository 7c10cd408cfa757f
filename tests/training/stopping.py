"""Asking the training of this very process to stop, where a signal that nobody waits for would end all tests."""

import signal

from diptych.training.signals import Interrupts


def ask_to_stop(signum: int = signal.SIGTERM) -> None:
    """Do what the signal does where a training waits for it, and fail where none does or was asked before.

    Real signals, and second ones, are sent to processes of their own (test_exact_resume.py).
    """
    handler = signal.getsignal(signum)
    listening = getattr(handler, "__self__", None)
    assert isinstance(listening, Interrupts), f"nobody waits for signal {signum}, which is handled by {handler}"
    assert not listening.signum, f"asked to stop by signal {listening.signum} already; a second one would end this process"
    listening.handle(signum)
