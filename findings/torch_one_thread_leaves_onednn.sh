#!/usr/bin/env bash
# A convolution with a kernel of one point leaves oneDNN as soon as torch has a single thread: it becomes a product of
# matrices, two to three times slower in channels last. With two threads, with a kernel of three points, or with a
# dilation (which changes nothing in a kernel of one point) oneDNN does it. So "one thread a process", the usual advice
# for workers that share a machine, changes the algorithm and not only the number of cores. Values are the same to rounding.
#
# Seen with torch 2.13.0 (CPU, x86-64) on Python 3.11:
#   1 thread:  kernel 1: _slow_conv2d_forward   kernel 1, dilation 2: mkldnn_convolution   kernel 3: mkldnn_convolution
#   2 threads: kernel 1: mkldnn_convolution     kernel 1, dilation 2: mkldnn_convolution   kernel 3: mkldnn_convolution
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
from torch.nn.functional import conv2d
from torch.profiler import profile


def kernel_of(n_threads, size, dilation):
    """Name of what computes a convolution, and its value."""
    torch.set_num_threads(n_threads)
    torch.manual_seed(0)
    x, w = torch.randn(4, 48, 64, 64), torch.randn(48, 48, size, size)
    with profile() as record, torch.no_grad():
        value = conv2d(x, w, padding=dilation * (size // 2), dilation=dilation)
    names = {each.key.removeprefix("aten::") for each in record.key_averages()}
    (name,) = names & {"_slow_conv2d_forward", "mkldnn_convolution"}
    return name, value


found = {}
for n_threads in (1, 2):
    cases = {"kernel 1": (1, 1), "kernel 1, dilation 2": (1, 2), "kernel 3": (3, 1)}
    found[n_threads] = {what: kernel_of(n_threads, *case) for what, case in cases.items()}
    print(f"{n_threads} thread(s):", "   ".join(f"{what}: {name}" for what, (name, _) in found[n_threads].items()))
assert found[1]["kernel 1"][0] == "_slow_conv2d_forward"
others = [found[1]["kernel 1, dilation 2"], found[1]["kernel 3"], *found[2].values()]
assert all(name == "mkldnn_convolution" for name, _ in others)
torch.testing.assert_close(found[1]["kernel 1"][1], found[1]["kernel 1, dilation 2"][1], atol=1e-4, rtol=1e-4)
PY
