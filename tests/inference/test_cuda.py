"""What can be known without a GPU: process-wide settings hold while anybody needs them, and replays compute the function."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch

from diptych.inference.cuda import EXACT_FLOAT32, FASTEST_KERNELS, RECORDED_PIXELS, RECORDINGS, WARM_UPS, Replays
from diptych.inference.translator import Translator
from tests.inference.test_backends import snapshot

BACKENDS = torch.backends


def tf32():
    return BACKENDS.cudnn.conv.fp32_precision, BACKENDS.cuda.matmul.fp32_precision


def every_setting():
    newer = (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul)
    return [setting.fp32_precision for setting in newer]


@pytest.fixture
def settings():
    """Puts back what a test changes."""
    before, matmul = every_setting(), torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(matmul)
    BACKENDS.cudnn.allow_tf32 = True
    newer = (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul)
    for setting, precision in zip(newer, before, strict=True):
        setting.fp32_precision = precision


def test_tf32_is_off_inside_and_restored_even_by_an_error():
    before = every_setting()
    assert before[0] == "tf32"  # as torch begins: convolutions in "float32" round to TF32
    with suppress(KeyError), EXACT_FLOAT32:
        assert every_setting() == ["ieee"] * 4
        raise KeyError
    assert every_setting() == before


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_precision_chosen_by_the_older_settings_stays_readable_and_comes_back(matmul, allowed, settings):
    torch.set_float32_matmul_precision(matmul)
    BACKENDS.cudnn.allow_tf32 = allowed

    def older():
        return torch.get_float32_matmul_precision(), BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32

    before = every_setting(), older()
    with EXACT_FLOAT32:
        assert every_setting() == ["ieee"] * 4 and older() == ("highest", False, False)
    assert (every_setting(), older()) == before


def test_precision_chosen_by_the_newer_settings_comes_back(settings):
    BACKENDS.cudnn.conv.fp32_precision, BACKENDS.cuda.matmul.fp32_precision = "ieee", "tf32"
    before = every_setting()
    with EXACT_FLOAT32:
        assert every_setting() == ["ieee"] * 4
    assert every_setting() == before == ["ieee", "tf32", "tf32", before[3]]


def test_a_setting_holds_until_the_last_thread_has_left():
    before, entered, leave = tf32(), threading.Event(), threading.Event()

    def stay():
        with EXACT_FLOAT32:
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    with EXACT_FLOAT32:
        thread.start()
        entered.wait(30)
    assert tf32() == ("ieee", "ieee")
    leave.set()
    thread.join()
    assert tf32() == before


@pytest.mark.parametrize("chosen", [True, False])
def test_a_search_for_kernels_leaves_the_users_setting(chosen, monkeypatch):
    monkeypatch.setattr(BACKENDS.cudnn, "benchmark", chosen)
    with FASTEST_KERNELS:
        assert BACKENDS.cudnn.benchmark is True
    assert BACKENDS.cudnn.benchmark is chosen


@pytest.mark.parametrize(("precision", "expected"), [("fp32", ("ieee", "ieee")), ("bf16", None)])
def test_a_translator_in_fp32_computes_without_tf32(precision, expected):
    translate, seen, before = Translator(snapshot(), device="cpu", precision=precision), [], tf32()
    translate._run.net.head.register_forward_hook(lambda *_: seen.append(tf32()))
    translate.tensors(torch.zeros((1, 3, 16, 16), dtype=torch.uint8))
    assert seen == [expected or before] and tf32() == before


class Recorder:
    """Stands in for CUDA: runs a recorded function again instead of launching its kernels again."""

    def __init__(self):
        self.recordings, self.replays = 0, 0

    def __call__(self, compute):
        self.recordings += 1
        out = compute()

        def replay():
            self.replays += 1
            out.copy_(compute())

        return replay, out


def double(x):
    return 2 * x


def test_replays_give_what_the_function_gives_and_results_stay():
    recorder = Recorder()
    replays = Replays(double, recorder)
    inputs = [torch.full((2, 3, 4, 4), float(i)) for i in range(WARM_UPS + 3)]
    outs = [replays(x) for x in inputs]
    assert all(torch.equal(out, 2 * x) for out, x in zip(outs, inputs, strict=True))
    assert (recorder.recordings, recorder.replays) == (1, 3)


def test_the_first_shapes_that_come_again_have_recordings_of_their_own():
    recorder = Recorder()
    replays = Replays(double, recorder)
    for _ in range(WARM_UPS + 2):
        for side in range(1, RECORDINGS + 2):
            assert torch.equal(replays(torch.ones(1, 3, side, 1)), torch.full((1, 3, side, 1), 2.0))
    assert recorder.recordings == len(replays.recorded) == RECORDINGS and recorder.replays == 2 * RECORDINGS


def test_what_cannot_be_recorded_for_want_of_memory_is_computed_and_few_times_tried_again():
    attempts = []

    def record(compute):
        attempts.append(compute())
        raise RuntimeError("CUDA out of memory")

    replays, x = Replays(double, record), torch.ones(1, 3, 4, 4)
    for _ in range(WARM_UPS + RECORDINGS + 2):
        assert torch.equal(replays(x), 2 * x)
    assert len(attempts) == RECORDINGS


def test_what_cannot_be_recorded_for_another_reason_is_an_error():
    def record(compute):
        raise RuntimeError("operation not permitted when stream is capturing")

    replays, x = Replays(double, record), torch.ones(1, 3, 4, 4)
    for _ in range(WARM_UPS):
        replays(x)
    with pytest.raises(RuntimeError, match="not permitted"):
        replays(x)


def test_large_batches_are_not_recorded():
    recorder = Recorder()
    replays = Replays(double, recorder)
    large = torch.zeros(1, 1, 1, RECORDED_PIXELS + 1)
    for _ in range(WARM_UPS + 2):
        assert replays(large).shape == large.shape
    assert recorder.recordings == 0


def test_a_thread_warms_up_itself_before_it_records():
    """cuDNN keeps the kernels that it chose for each thread, and cannot choose while a graph is recorded."""
    recorder = Recorder()
    replays, x = Replays(double, recorder), torch.ones(1, 3, 4, 4)
    for _ in range(WARM_UPS):
        replays(x)
    with ThreadPoolExecutor(1) as other:
        for expected in [0] * WARM_UPS + [1, 1]:
            assert torch.equal(other.submit(replays, x).result(), 2 * x)
            assert recorder.recordings == expected
