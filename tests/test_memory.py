"""How much memory is left: of the machine, of control groups of both versions, of the address space."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from diptych import memory
from diptych.inference import budget
from diptych.memory import available_memory, in_words


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes files below a pretended /sys/fs/cgroup, and answers what they leave."""

    def write(membership, **files):
        for path, text in files.items():
            file = tmp_path / path.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name(file.name.replace("_dot_", ".")).write_text(text)
        (tmp_path / "membership").write_text(membership)
        return list(memory._group_memory(tmp_path, tmp_path / "membership"))

    return write


def test_a_group_of_version_2_leaves_its_limit_less_what_it_uses_and_files_count_as_free(groups):
    files = {"job__memory_dot_max": "1000\n", "job__memory_dot_current": "700\n"}
    stat = {"job__memory_dot_stat": "anon 500\ninactive_file 150\nactive_file 50\n"}
    assert groups("0::/job\n", **files, **stat) == [450]


def test_a_group_of_version_1_does_the_same_and_the_groups_around_it_count(groups):
    inner = {"memory__a__b__memory_dot_limit_in_bytes": "1000", "memory__a__b__memory_dot_usage_in_bytes": "300"}
    outer = {"memory__a__memory_dot_limit_in_bytes": "900", "memory__a__memory_dot_usage_in_bytes": "600"}
    assert groups("9:cpu:/x\n4:memory:/a/b\n0::/\n", **inner, **outer) == [700, 300]


def test_a_group_without_a_limit_leaves_what_others_do(groups):
    assert groups("0::/job\n", job__memory_dot_max="max\n", job__memory_dot_current="700\n") == []
    assert groups("0::/elsewhere\n", memory_dot_max="1000\n", memory_dot_current="1\n") == [999]  # a container's own group


def test_what_is_left_is_the_least_of_all_limits(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "_machine_memory", lambda: iter([500]))
    monkeypatch.setattr(memory, "_group_memory", lambda: iter([400, 300]))
    monkeypatch.setattr(memory, "_address_space", lambda: iter([600]))
    assert available_memory(cpu) == 300
    monkeypatch.setattr(memory, "_group_memory", lambda: iter([-5]))  # more in use than is allowed: nothing is left
    assert available_memory(cpu) == 0


def test_where_the_system_says_nothing_half_of_the_memory_is_taken_as_free(monkeypatch):
    for name in ("_machine_memory", "_group_memory", "_address_space"):
        monkeypatch.setattr(memory, name, lambda: iter([]))
    assert 1e8 < available_memory(torch.device("cpu")) < 1e14


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_of_address_space_is_seen():
    code = (
        "import resource, torch; from diptych.memory import available_memory;"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2);"
        "print(available_memory(torch.device('cpu')))"
    )
    left = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 1 << 30 < left < 4 << 30


def test_bytes_in_words():
    found = [in_words(n) for n in (7, 999, 1234, 98_400_000, 1_200_000_000, 38 * 10**9, 4 * 10**13)]
    assert found == ["7 bytes", "999 bytes", "1.23 kB", "98.4 MB", "1.20 GB", "38.0 GB", "40.0 TB"]


def test_work_in_parts_gives_memory_back_where_it_holds_most_of_what_it_may(monkeypatch):
    held, seen = [0], []
    monkeypatch.setattr(memory, "resident_memory", lambda: held[0])
    monkeypatch.setattr(memory, "give_back", lambda: seen.append("given back"))
    for memory_given in (1000, None):
        watch = memory.giving_back(seen.append, memory_given)
        for held[0] in (750, 751):
            watch(held[0] / 1000)
    assert seen == [0.75, "given back", 0.751, 0.75, 0.751]


@pytest.mark.parametrize("number", [-1, -12_000_000, -(10**15)])
def test_less_than_nothing_is_said_as_nothing(number):
    """A process under `ulimit -v` may hold more than the limit leaves, of which messages said that -12 MB are free."""
    assert in_words(number) == in_words(0) == "0 bytes"


def test_what_images_may_still_take_is_never_less_than_nothing(monkeypatch):
    monkeypatch.setattr(budget, "default_memory", lambda device: 50)
    monkeypatch.setattr(budget, "resident_memory", lambda: 60)
    assert budget.host_left(SimpleNamespace(device=torch.device("cuda"))) == 0
