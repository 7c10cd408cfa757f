"""What a training says on an output that is no terminal, by time, and what it says of a long training on a CPU."""

import pytest

from diptych.cli import estimate as estimate_module
from diptych.cli import progress as module
from diptych.cli.console import bar
from diptych.cli.estimate import Estimate, advice
from diptych.cli.progress import Lines, duration
from diptych.data.census import Census
from diptych.data.folders import Split
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.planning.relative import relative_time
from diptych.training.progress import Progress

CENSUS = Census(Split((), (), False), Domain(), Domain())


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    for place in (module, estimate_module):
        monkeypatch.setattr(place.time, "monotonic", lambda: now[0])
    return now


def said(clock, seconds_per_step, total, losses_at=50):
    """When which line of a training is printed."""
    found = []
    lines = Lines(lambda text: found.append((clock[0], text)))
    lines.see(Progress("training", 0, total, 1, 0.0))
    for step in range(1, total + 1):
        clock[0] += seconds_per_step
        lines.see(Progress("training", step, total, 1, 1 / seconds_per_step))
        if step % losses_at == 0 or step == total:
            lines.see(Progress("training", step, total, 1, 1 / seconds_per_step, {"G/l1": 0.25}))
    return found


def test_a_slow_training_says_its_length_at_once_and_the_time_left_within_half_a_minute(clock):
    first, second, third, *_ = said(clock, 6.0, 600)
    assert first == (0.0, "training: 600 steps; how long that takes is said as soon as it is known")
    assert second == (24.0, "training 4/600  epoch 1  0.167 images/s  1 h 0 min left")  # 596 steps of 6 s
    assert third == (66.0, "training 11/600  epoch 1  0.167 images/s  59 min left")


def test_lines_become_rarer_and_end_with_the_last_losses(clock):
    found = said(clock, 1.0, 3600)
    times = [round(when) for when, _ in found]
    assert times == [0, 20, 60, 120, 300, 600, 1200, 1800, 2400, 3000, 3600]
    assert found[-1][1] == "training 3,600/3,600  epoch 1  1 images/s  G/l1 0.250"


def test_a_quick_training_is_two_lines(clock):
    assert [text.split()[0] for _, text in said(clock, 0.1, 50)] == ["training:", "training"]


def test_a_resumed_training_counts_from_where_it_goes_on(clock):
    found = []
    lines = Lines(found.append)
    lines.see(Progress("training", 900, 1000))
    clock[0] = 30.0
    lines.see(Progress("training", 910, 1000))
    assert found == [
        "training: 100 steps; how long that takes is said as soon as it is known",
        "training 910/1,000  4 min left",  # 90 steps of 3 s, rounded to even
    ]


def test_other_long_tasks_are_said_too(clock):
    found = []
    lines = Lines(found.append)
    for done in range(0, 101, 10):
        lines.see(Progress("reading images", done, 100))
        clock[0] += 5.0
    assert found == ["reading images 40/100  30 s left"]


def test_a_task_of_a_bar_has_the_note_that_the_bar_ends_with():
    with bar("images") as progress:
        progress.add_task("maps", total=1)
    assert progress.tasks[0].fields == {"note": ""}


def test_bars_are_lines_where_there_is_no_terminal(clock, capsys):
    with bar("images") as progress:
        task = progress.add_task("x: evaluating", total=4, note="")
        for done in range(5):
            progress.update(task, completed=done)
            clock[0] += 15.0
        task = progress.add_task("measuring", total=3, note="")
        for _ in range(3):
            progress.advance(task)
            clock[0] += 30.0
    assert capsys.readouterr().err == "x: evaluating 2/4  30 s left\nmeasuring 2/3  30 s left\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3600 * 2 + 300, "2 h 5 min"), (784800, "9 days 2 h")],
)
def test_a_duration_has_the_units_that_matter(seconds, words):
    assert duration(seconds) == words


def test_the_estimate_is_made_once_from_the_first_steps(clock):
    estimate, found = Estimate(), []
    for step in range(0, 10):
        found.append(estimate.seconds(Progress("training", step, 1000)))
        clock[0] += 6.0
    assert found[:3] == [None] * 3 and found[3] == pytest.approx(6.0 * 997) and found[4:] == [None] * 6


def test_a_long_training_on_a_cpu_is_told_with_what_the_laptop_preset_would_take():
    recipe = Recipe.create("cyclegan")
    from diptych.presets import preset

    share = relative_time(recipe, Recipe.create("cyclegan", preset("laptop", "cyclegan")), Domain(), Domain())
    # Half the pixels a side, half the channels, half the epochs, and six blocks for nine: between 1/32 and 1/64.
    assert 1 / 64 < share < 1 / 32
    text = advice(9 * 86400.0, recipe, CENSUS, True)
    assert text == (
        "at this speed the training takes about 9 days 0 h on this CPU; with --preset laptop (128 px, half the epochs) "
        f"it would take about {duration(9 * 86400 * share)}"
    )
    assert advice(9 * 86400.0, recipe, CENSUS, False).endswith("smaller crops (--data.crop_size) shorten it")
    assert advice(3600.0, recipe, CENSUS, True) is None


def test_networks_that_cannot_be_counted_give_no_ratio():
    recipe = Recipe.create("pix2pix", {"data": {"crop_size": 8, "load_size": 8}})  # too small for the discriminator
    assert relative_time(recipe, Recipe.create("pix2pix"), Domain(), Domain()) is None
