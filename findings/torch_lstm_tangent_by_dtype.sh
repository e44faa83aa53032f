#!/usr/bin/env bash
# Whether an LSTM has a forward derivative on a CPU depends on its dtype and on who looks on. torch.func.jvp of nn.LSTM works in
# float64 and raises NotImplementedError in float32: there oneDNN computes the layer, and that operator has no forward formula. With
# oneDNN switched off (torch.backends.mkldnn.flags) the same float32 module has one. Reverse mode, and so the same product by going
# back twice, works in all of them. A tangent-linear model that was tested in double precision stops in single.
#
# Seen with torch 2.13.0 (CPU, x86-64) on Python 3.11:
#   float64: tangent    float32: NotImplementedError (mkldnn_rnn_layer)    float32 without oneDNN: tangent
#   float32, backward twice: tangent, equal to that without oneDNN
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch

torch.manual_seed(0)
lstm = torch.nn.LSTM(3, 4, batch_first=True)
x, v = torch.randn(2, 5, 3), torch.randn(2, 5, 3)


def tangent(dtype):
    """Forward derivative, or the name of what has none."""
    module = lstm.to(dtype)
    try:
        return torch.func.jvp(lambda z: module(z)[0], (x.to(dtype),), (v.to(dtype),))[1].detach()
    except NotImplementedError as error:
        return next(word for word in str(error).split() if "rnn" in word)


def backward_twice():
    point = x.clone().requires_grad_()
    value = lstm.to(torch.float32)(point)[0]
    dummy = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, point, dummy, create_graph=True)
    return torch.autograd.grad(pulled, dummy, v)[0]


double, single = tangent(torch.float64), tangent(torch.float32)
with torch.backends.mkldnn.flags(enabled=False):
    plain = tangent(torch.float32)
print("float64:", "tangent" if torch.is_tensor(double) else double)
print("float32:", "tangent" if torch.is_tensor(single) else f"NotImplementedError ({single})")
print("float32 without oneDNN:", "tangent" if torch.is_tensor(plain) else plain)
assert torch.is_tensor(double)
assert single == "mkldnn_rnn_layer", single
torch.testing.assert_close(plain.double(), double, atol=1e-5, rtol=1e-4)
torch.testing.assert_close(backward_twice(), plain, atol=1e-5, rtol=1e-4)
print("float32, backward twice: tangent, equal to that without oneDNN")
PY
