"""The MNIST script at a thousandth of its size, on made-up digits in IDX files."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from scripts.mnist import __main__ as script
from scripts.mnist.methods import SparseCoding

TINY = 0.001
ROWS = ["x0", "pca-fsgd", "ae-lstm", "2s-lstm", "unet-lstm"]


def digits(n: int, seed: int) -> np.ndarray:
    """Bright ellipses of random place, size and thickness."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    centre, axes = rng.uniform(11, 17, (2, n, 1, 1)), rng.uniform(3, 9, (2, n, 1, 1))
    radius = np.hypot((y - centre[0]) / axes[0], (x - centre[1]) / axes[1])
    return (255 * np.exp(-(((radius - 1) / rng.uniform(0.1, 0.3, (n, 1, 1))) ** 2))).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mnist")
    for name, n in {"train": 60, "t10k": 10}.items():
        header = np.array([0x803, n, 28, 28], ">i4").tobytes()
        content = header + digits(n, seed=n).tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


def run(*options: object) -> str:
    result = CliRunner().invoke(script.main, [str(each) for each in options])
    assert result.exit_code == 0, result.output
    return result.stdout


def chosen(rows: list[str]) -> list[str]:
    return [option for row in rows for option in ("--rows", row)]


def test_rows_are_trained_scored_and_drawn_and_a_second_run_reads_them_back(data, tmp_path):
    options = ("--data", data, "--scale", TINY, "--out", tmp_path)
    output = run(*options, "--noise", "std", *chosen(ROWS))
    run(*options, "--noise", "variance", *chosen(["x0", "ae-lstm"]))
    for noise, names in {"std": ROWS, "variance": ["x0", "ae-lstm"]}.items():
        rows = json.loads((tmp_path / f"{noise}.json").read_text())
        assert list(rows) == names
        # The masked image keeps the noise where it saw: I is of the hidden pixels, R of all.
        hidden = (rows["x0"]["r"][0] - script.NOISES[noise] ** 2) / rows["x0"]["i"][0]
        assert 0.2 < hidden < 0.32
        for row in rows.values():
            assert row["r"][1] < row["r"][0] < row["r"][2]
        assert (tmp_path / f"{noise}.png").stat().st_size > 1000
    log = (tmp_path / "log.txt").read_text()
    assert "2s-fp: 4 epochs" in log  # Phi of 2s-lstm comes from there
    assert run(*options, "--noise", "std", *chosen(ROWS)) == output
    assert (tmp_path / "log.txt").read_text() == log


def test_scores_count_all_pixels_and_those_in_holes():
    error = np.array([[1.0, 3.0], [2.0, 0.0]])
    hidden = np.array([[True, True], [True, False]])
    scores = script.reconstruction_scores(error, hidden)
    assert scores["r"][0] == pytest.approx((1 + 3 + 2 + 0) / 4)
    assert scores["i"][0] == pytest.approx((1 + 3 + 2) / 3)


def test_coding_and_decoding_with_all_atoms_keeps_an_image():
    pytest.importorskip("sklearn")
    atoms = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    x = torch.randn(3, 1, 1, 2, 3, dtype=torch.float64)
    whole, few = (SparseCoding(atoms, algorithm="omp", n_nonzero_coefs=n) for n in (6, 2))
    torch.testing.assert_close(whole(x), x)
    # Of orthonormal atoms the two with the largest coefficients remain.
    sizes = (x.flatten(1) @ torch.from_numpy(atoms).T).square().sort(1).values
    torch.testing.assert_close((few(x) - x).square().flatten(1).sum(1), sizes[:, :4].sum(1))


def test_another_size_in_the_same_folder_is_refused(data, tmp_path):
    run("--data", data, "--scale", TINY, "--out", tmp_path, "--rows", "x0", "--noise", "std")
    options = ["--data", str(data), "--scale", "0.002", "--out", str(tmp_path), "--rows", "x0"]
    result = CliRunner().invoke(script.main, options)
    assert result.exit_code == 1
    assert "another --out" in result.output


def test_data_that_are_missing_or_no_images_are_named(tmp_path):
    result = CliRunner().invoke(script.main, ["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "train-images-idx3-ubyte" in result.output
    (tmp_path / "train-images-idx3-ubyte").write_bytes(np.array([0x801, 1, 1, 1], ">i4").tobytes())
    result = CliRunner().invoke(script.main, ["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "0x801" in result.output
