#!/usr/bin/env bash
# Module.to(dtype) with a real dtype turns complex buffers real: a spectral derivative (i k) becomes 0 and a model of
# flow stands still. Only a UserWarning says so, once, and nothing fails: shapes and dtypes of results are as before.
# Moving by device alone, .to("cpu"), leaves them; buffers kept as pairs of reals (view_as_real) survive.
#
# Seen with torch 2.13.0 (CPU) on Python 3.11:
#   before: slope at 0 is 1.000   after .to(torch.float32): 0.000, buffer torch.float32
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import warnings

import torch


class Slope(torch.nn.Module):
    """Derivative of a periodic field by its Fourier series."""

    def __init__(self, n):
        super().__init__()
        self.register_buffer("factors", 1j * torch.arange(n // 2 + 1))

    def forward(self, x):
        return torch.fft.irfft(self.factors * torch.fft.rfft(x), n=x.shape[-1])


x = torch.sin(torch.arange(16) * 2 * torch.pi / 16)
slope = Slope(16)
before = float(slope(x)[0])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    slope.to(torch.float32)
after = float(slope(x)[0])
print(f"before: slope at 0 is {before:.3f}   after .to(torch.float32): {after:.3f}, buffer {slope.factors.dtype}")
assert abs(before - 1) < 1e-5
assert abs(after) < 1e-5
assert slope.factors.dtype == torch.float32
assert any("discards the imaginary part" in str(each.message) for each in caught)
PY
