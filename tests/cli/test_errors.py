"""Whatever a user gets wrong is one line on stderr and an exit code; nothing else shows a traceback."""

import fcntl
import inspect
import signal

import pytest

from diptych import errors
from diptych.__main__ import command
from diptych.cli import COMMANDS, load, main, report
from tests.cli.pictures import CYCLEGAN, PIX2PIX, diptych, folder, picture

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.DiptychError)]
CODES = {
    "DiptychError": 2,
    "ConfigError": 2,
    "DataError": 2,
    "MissingExtraError": 2,
    "TrainingError": 3,
    "OutOfMemory": 3,
    "LockedError": 4,
    "StorageError": 5,
    "SnapshotError": 6,
    "WeightsError": 6,
    "Interrupted": 130,
}


def the_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_error_of_the_family_is_one_line_with_its_exit_code(kind, monkeypatch, capsys):
    error = kind("it broke", signal.SIGINT) if kind is errors.Interrupted else kind("it broke")

    def fail(argv):
        raise error

    monkeypatch.setattr(report, "main", fail)
    assert main(["report", "x"]) == CODES[kind.__name__]
    word = "" if kind is errors.Interrupted else "error: "  # who pressed Ctrl-C made no mistake
    assert capsys.readouterr() == ("", f"{word}it broke\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_anywhere_is_one_line(error, monkeypatch, capsys):
    """Under `ulimit -v` any command could end in a traceback of MemoryError."""

    def fail(argv):
        raise error

    monkeypatch.setattr(report, "main", fail)
    assert main(["report", "x"]) == 3
    said = the_line(capsys)
    assert said.startswith(f"memory ran out ({str(error) or 'no more could be taken'}); ") and "(ulimit -v)" in said


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(argv):
        raise ZeroDivisionError

    monkeypatch.setattr(report, "main", fail)
    with pytest.raises(ZeroDivisionError):
        main(["report", "x"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "no command is called 'trian'; did you mean train?"),
        (["xyz"], "no command is called 'xyz'; see `diptych --help`"),
        (["--colour"], "no option is called --colour; see `diptych --help`"),
        (["translate", "x.safetensors", "in"], "the following arguments are required: --out"),
        (["translate", "x", "in", "--out", "out", "--at", "best"], "argument --at: invalid choice: 'best'"),
        (["translate", "x", "in", "--out", "out", "--sharper"], "no option is called --sharper"),
        (["report"], "the following arguments are required: RUN"),
        (["demo", "--fast"], "no option is called --fast; see `diptych demo --help`"),
        (["train"], "the following arguments are required: RECIPE; see"),
        (["train", "pix2pix", "relief", "--epochs", "5"], "no option is called --epochs; settings have two parts"),
        (["train", "pix2pix", "relief", "--train.epoch", "5"], "no setting is called train.epoch; did you mean train.epochs?"),
        (["train", "pix2pix", "relief", "--train.epochs", "many"], "train.epochs: "),
        (["train", "pix2pix", "relief", "--method.gan", "lsgam"], "method.gan: "),
        (["train", "pix2pix", "relief", "--method.lambda_cycle_a", "1"], "no setting is called method.lambda_cycle_a"),
        (["train", "pix2pix", "relief", "--log-every", "0"], "--log-every: must be a whole number of at least 1, found '0'"),
        (["train", "pix2pix", "relief", "--log-every", "2.5"], "--log-every: must be a whole number of at least 1, found '2.5'"),
        (["train", "pix2pix", "relief", "--workers", "-1"], "--workers: must be a whole number of at least 0, found '-1'"),
        (["train", "pix2pix", "relief", "--save-every", "nan"], "--save-every: must be a number of seconds of at least 0, found"),
        (["translate", "x", "in", "--out", "out", "--seed", "9" * 30], f"from 0 to {2**63 - 1}, found '{'9' * 30}'"),
        (["translate", "x", "in", "--out", "out", "--batch", "0"], "--batch: must be a whole number of at least 1, found '0'"),
        (["evaluate", "x", "in", "--seed", "9" * 30], f"from 0 to {2**63 - 1}, found '{'9' * 30}'"),
        (["train", "pix2pics", "relief"], "no method or recipe is called 'pix2pics'; did you mean pix2pix?"),
        (["train", "facade", "relief"], "no method or recipe is called 'facade'; did you mean facades?"),
        (["plan", "?", "relief"], "no method or recipe is called '?'; there are pix2pix, cyclegan, "),
        (["train", "nowhere.methods:Config", "relief"], "method nowhere.methods:Config: No module named 'nowhere'"),
        (["train", "missing.yaml"], "missing.yaml: no such file; give a recipe that --dry-run printed"),
        (["train", "pix2pix", "no-such-folder"], "no-such-folder: no such folder, and no embedded data of this name (relief)"),
        (
            ["train", "pix2pix", "relief", "--extra", "[{loss: pixel"],
            "extra: not valid YAML, found [{loss: pixel; look for",
        ),
        (["train", "pix2pix", "relief", "--train.lr", "nan"], "train.lr must be a finite number, found nan"),
        (
            ["translate", "x", "in", "--ot", "out"],
            "no option is called --ot; did you mean --out?; see `diptych translate --help`",
        ),
        (["export", "x", "--otu=y.onnx", "--format"], "no option is called --otu; did you mean --out?"),
        (["music", "sheet", "--spce", "4", "--out", "x.pdf"], "no option is called --spce; did you mean --space?"),
        (["check", "photos", "--jsn"], "no option is called --jsn; did you mean --json?; see `diptych check --help`"),
        (["music", "sheet", "x.mid", "--out", "x.pdf", "--spce", "4"], "no option is called --spce; did you mean --space?"),
        (["music", "shet", "x.mid"], "did you mean sheet?; see `diptych music --help`"),
        (["export", "x", "--to", "onxn"], "did you mean onnx?"),
        (
            ["train", "/", "pix2pix"],
            "/: is a folder, not a recipe; you may mean `diptych train pix2pix /` (the recipe",
        ),
        (["train", "/"], "you may mean `diptych train pix2pix /`"),
        (["train", "/", "/usr"], "you may mean `diptych train cyclegan / /usr` (without pairs; pix2pix in its place with pairs)"),
        (["train", "pix2pix", "relief", "--train.epochs", "-3"], "train.epochs must be at least 0, found -3"),
        (["train", "pix2pix", "https://x.org/a"], "https://x.org/a: is an address, expected a folder of images; download them"),
        (["train", "pix2pix", "~nobody-of-this-name/x"], "names the home of a user who is not known here"),
        (["train", "--from", "runs/x"], "--from RUN needs --more-epochs N, as in `diptych train --from runs/x --more-epochs 50`"),
        (["train", "--more-epochs", "5"], "--more-epochs N needs --from RUN"),
        (["train", "--from", "x", "--more-epochs", "5"], "x: holds no run; give the folder of a training"),
        (["train", "--from", "x", "--more-epochs", "5", "--preset", "laptop"], "--preset: a run that goes on keeps its own"),
        (["train", "pix2pix", "relief", "--weights", "x.pth"], "x.pth: no such file; give a snapshot, a run folder, or weights"),
        (["runs", "nowhere"], "nowhere: no such folder; train something, or name the folder of your runs"),
        (["train", "pix2pix", "relief", "--device", "abacus"], "device must be auto, cpu, cuda, cuda:N or mps, found 'abacus'"),
        (["train", "pix2pix", "relief", "--device", "meta"], "device must be auto, cpu, cuda, cuda:N or mps, found 'meta'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert all(not line or not line.startswith("usage") for line in captured.err.splitlines())


def test_an_unknown_device_is_refused_in_translation_too(cyclegan_run, tmp_path, capsys):
    words = ["translate", cyclegan_run / "snapshot.safetensors", picture(tmp_path / "x.png"), "--out", tmp_path / "out"]
    assert diptych(*words, "--device", "abacus") == 2
    assert "device must be auto, cpu, cuda, cuda:N or mps, found 'abacus'" in the_line(capsys)


def test_a_missing_and_a_damaged_snapshot_are_exit_code_6(cyclegan_run, tmp_path, capsys):
    given = picture(tmp_path / "x.png")
    assert diptych("translate", tmp_path / "none.safetensors", given, "--out", tmp_path / "out") == 6
    assert "none.safetensors: no such file or run; give a snapshot" in the_line(capsys)
    damaged = bytearray((cyclegan_run / "snapshot.safetensors").read_bytes())
    damaged[-100] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    assert diptych("translate", tmp_path / "damaged.safetensors", given, "--out", tmp_path / "out") == 6
    assert "damaged.safetensors: damaged: expected SHA-256" in the_line(capsys)


def test_a_training_state_is_no_snapshot(cyclegan_run, tmp_path, capsys):
    (state,) = cyclegan_run.glob("state-*.safetensors")
    assert diptych("translate", state, picture(tmp_path / "x.png"), "--out", tmp_path / "out") == 6
    assert "is a state, expected a snapshot; give a snapshot file" in the_line(capsys)


def test_a_run_that_another_process_writes_is_exit_code_4(cyclegan_run, capsys):
    data = cyclegan_run.parent / "data"
    with open(cyclegan_run / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert diptych("train", "cyclegan", data, "--out", cyclegan_run, *CYCLEGAN) == 4
    assert "another process writes this run" in capsys.readouterr().err.splitlines()[-1]


def test_an_output_that_cannot_be_made_is_exit_code_5(cyclegan_run, tmp_path, capsys):
    given = picture(tmp_path / "x.png")
    (tmp_path / "file").write_text("in the way")
    assert diptych("translate", cyclegan_run / "snapshot.safetensors", given, "--out", tmp_path / "file" / "out") == 5
    assert "cannot be made (Not a directory); choose another --out" in the_line(capsys)
    data = cyclegan_run.parent / "data"
    assert diptych("train", "cyclegan", data, "--out", tmp_path / "file" / "run", *CYCLEGAN) == 5
    assert "cannot be made or written (Not a directory)" in capsys.readouterr().err.splitlines()[-1]


def test_a_training_that_becomes_infinite_is_exit_code_3_and_saves_nothing(tmp_path, capsys):
    a, b = folder(tmp_path / "a", 4), folder(tmp_path / "b", 4, seed=8)
    words = [
        "train",
        "pix2pix",
        a,
        b,
        "--out",
        tmp_path / "run",
        *PIX2PIX,
        "--train.lr",
        "1e38",
        "--log-every",
        1,
        "--previews",
        0,
    ]
    assert diptych(*words) == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: step ") and "became NaN or infinite" in line and "lower train.lr" in line
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help_with_two_examples(name, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.count(f"diptych {name} ") >= 2
    assert load(name).parser().prog == f"diptych {name}"


def test_no_command_shows_the_overview(capsys):
    with pytest.raises(SystemExit) as leaving:
        main([])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)


def test_ctrl_c_outside_of_training_is_one_line_too(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "main", interrupted)
    assert main(["report", "x"]) == 130
    assert capsys.readouterr() == ("", "interrupted; run the same command again\n")


def test_ctrl_c_that_a_library_turned_into_another_error_is_one_line_too(monkeypatch, capsys):
    def importing(argv):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy could not be imported") from None

    monkeypatch.setattr(report, "main", importing)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
    try:
        assert main(["report", "x"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "interrupted; run the same command again\n")


@pytest.mark.parametrize(("code", "ignored"), [(130, True), (0, False), (143, False)])
def test_a_second_ctrl_c_does_not_tear_the_end_of_python(code, ignored, monkeypatch):
    monkeypatch.setattr("diptych.__main__.main", lambda: code)
    before = signal.getsignal(signal.SIGINT)
    try:
        assert command() == code
        assert (signal.getsignal(signal.SIGINT) is signal.SIG_IGN) == ignored
    finally:
        signal.signal(signal.SIGINT, before)
