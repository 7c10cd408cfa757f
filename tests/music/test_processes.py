"""Worker processes return results in order, even if some of them crash."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from diptych.music.processes import MAX_PENDING, map_in_processes
from tests.music.process_tasks import process_of, square, touch


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_item_that_ends_its_process_is_none_and_all_others_are_done(jobs):
    expected = [(k, None if k % 5 == 3 else k * k) for k in range(14)]
    assert list(map_in_processes(square, range(14), jobs)) == expected


def test_what_the_function_raises_is_raised():
    found = map_in_processes(square, [1, 2, 100, 4], 1)
    assert [next(found), next(found)] == [(1, 1), (2, 4)]
    with pytest.raises(ValueError, match="100 is no number"):
        next(found)


def test_few_results_wait_for_who_takes_them(tmp_path):
    found = map_in_processes(partial(touch, tmp_path), range(60), 1)
    next(found)
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) <= MAX_PENDING + 1
    assert len(list(found)) == 59


def test_where_no_process_can_start_no_item_is_blamed(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text("from diptych.music.processes import map_in_processes\nprint(list(map_in_processes(abs, [1, 2], 1)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "BrokenProcessPool" in done.stderr and "None" not in done.stdout


def test_a_process_that_ends_with_nothing_to_do_is_no_items_fault():
    found = map_in_processes(process_of, range(MAX_PENDING + 1), 1)  # the last is taken when the first has been asked for
    first = next(found)[1]
    time.sleep(0.5)  # it has done all that it took
    os.kill(first, signal.SIGKILL)
    time.sleep(0.5)
    rest = [pid for _, pid in found]
    assert len(rest) == MAX_PENDING and rest[:-1] == [first] * (MAX_PENDING - 1) and rest[-1] not in (None, first)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_when_the_one_that_started_it_is_killed(how, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        "import time\nfrom diptych.music.processes import map_in_processes\n"
        "from tests.music.process_tasks import slow_and_large\n"
        "if __name__ == '__main__':\n    print(next(map_in_processes(slow_and_large, range(9), 1))[1][0], flush=True)\n"
        "    time.sleep(600)\n"
    )
    words, environment = [sys.executable, script], os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as run:
        worker = int(run.stdout.readline())
        run.send_signal(how)
        try:
            run.communicate(timeout=20)  # until nobody has this end of the pipe, which the worker has too
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            pytest.fail(f"process {worker} was still there 20 s after its parent was killed")
