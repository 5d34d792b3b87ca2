"""The programs of the package: bench, demo and reduce. Of their times nothing is asked."""

import json
import sys

import pytest
import torch

from kernel_rmsprop import bench, demo, reduce


def run(monkeypatch, capsys, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    module.main()
    return capsys.readouterr().out


def refused(monkeypatch, capsys, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw"])
def test_bench(monkeypatch, capsys, tmp_path, optimizer):
    file = tmp_path / "times.json"
    arguments = ["--optimizer", optimizer, "--cases", "1x1,1M", "--options", "all", "--threads", "1,2,1", "--time", "0.01", "--json", str(file)]
    lines = [line.split("|")[1:-1] for line in run(monkeypatch, capsys, bench, *arguments).splitlines() if "|" in line]
    rows = json.loads(file.read_text())["rows"]
    assert [[c.strip() for c in line[:3]] for line in lines[2:]] == [
        [case, "all", str(threads)] for threads in (1, 2) for case in ("1x1", "1M")
    ]
    assert len(rows) == 4 and len({len(line) for line in lines}) == 1
    names = {"ours", "for-loop", "foreach", *(["fused"] if optimizer == "adamw" else [])}
    for row in rows:
        assert row["seconds"].keys() == row["first"].keys() == names and row["optimizer"] == optimizer
        assert min(row["seconds"].values()) > 0


def test_bench_with_contenders_in_some_rows():
    """Those that are not compiled have a blank."""
    rows = [bench.measure("rmsprop", case, "plain", False, 0.01) for case in ("1x1", "1M")]
    rows[1]["seconds"]["compiled"] = 2 * rows[1]["seconds"]["ours"]
    head, _, *body = [[c.strip() for c in line.split("|")[1:-1]] for line in bench.table(rows).splitlines()]
    at = head.index("compiled / ours")
    assert body[0][at] == "" and body[1][at] == "2.00" and body[1][head.index("for-loop")] != ""


def test_bench_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [bench.measure("rmsprop", "1x1", "plain", False, 0.01), bench.measure("rmsprop", "1x1", "all", False, 0.01)]
    rows[1]["seconds"]["compiled"] = rows[1]["seconds"]["ours"]
    bench.picture(rows, str(tmp_path / "times.png"))
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_bench_cases():
    shapes = bench.resnet50()
    assert len(shapes) == 161 and sum(torch.Size(s).numel() for s in shapes) == 25_557_032


@pytest.mark.parametrize(
    "name,value", [("cases", "2M"), ("options", "no"), ("threads", "0"), ("threads", "x"), ("time", "0"), ("compiled", "no"), ("optimizer", "no")]
)
def test_bench_refuses(monkeypatch, capsys, name, value):
    error = refused(monkeypatch, capsys, bench, f"--{name}", value).splitlines()[-1]
    assert name in error or value in error


def test_demo(monkeypatch, capsys):
    lines = run(monkeypatch, capsys, demo, "--epochs", "3", "--hidden", "16").splitlines()
    losses = [line.split() for line in lines if "loss" in line]
    assert len(losses) == 3
    for _, _, torchs, _, ours in losses:
        assert abs(float(torchs) - float(ours)) < 2e-3
    assert float(losses[2][4]) < float(losses[0][4])
    assert "times as fast" in lines[-1]
    refused(monkeypatch, capsys, demo, "--epochs", "0")


def test_reduce(monkeypatch, capsys):
    *_, line = run(monkeypatch, capsys, reduce, "--ranks", "2", "--elements", "1000").splitlines()
    assert line.startswith("| 2 | 1,000 |")
    for arguments in (("--ranks", "3"), ("--ranks", "x"), ("--elements", "0"), ("--elements", "1,")):
        assert arguments[0] in refused(monkeypatch, capsys, reduce, *arguments)
