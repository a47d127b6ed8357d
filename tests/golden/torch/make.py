"""Writes the files of this folder with the real ``torch.save``; see README.md for the command.

The network is BiT's ResNet-v2 in the names that the authors' state dicts have, with one unit in
each block and a stem of two channels. Weights are multiples of 1/64, exact in float16, so that
every file holds the same network, and compresses well.
"""

import gzip
import io
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
STEM, CLASSES = 2, 5


class StdConv(nn.Conv2d):
    """A convolution of the kernel with mean 0 and variance 1 per output channel."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        kernel = (self.weight - mean) / torch.sqrt(variance + 1e-10)
        return functional.conv2d(x, kernel, None, self.stride, self.padding)


def conv(inputs, outputs, size, stride=1):
    """Standardised, zero-padded, without bias."""
    return StdConv(inputs, outputs, size, stride, padding=size // 2, bias=False)


def norm(channels):
    """32 groups; fewer where they would hold one channel each, the rule of narrow networks."""
    return nn.GroupNorm(math.gcd(32, channels // 2), channels)


class Unit(nn.Module):
    """Pre-activation bottleneck."""

    def __init__(self, inputs, middle, stride):
        super().__init__()
        self.gn1, self.conv1 = norm(inputs), conv(inputs, middle, 1)
        self.gn2, self.conv2 = norm(middle), conv(middle, middle, 3, stride)
        self.gn3, self.conv3 = norm(middle), conv(middle, 4 * middle, 1)
        self.downsample = conv(inputs, 4 * middle, 1, stride)

    def forward(self, x):
        h = functional.relu(self.gn1(x))
        shortcut = self.downsample(h)
        h = self.conv2(functional.relu(self.gn2(self.conv1(h))))
        return self.conv3(functional.relu(self.gn3(h))) + shortcut


class Net(nn.Module):
    """The network, named as the authors' is."""

    def __init__(self):
        super().__init__()
        self.root = nn.Sequential(OrderedDict(conv=conv(3, STEM, 7, 2)))
        blocks, inputs = OrderedDict(), STEM
        for index in range(4):
            unit = Unit(inputs, STEM * 2**index, 1 if index == 0 else 2)
            blocks[f"block{index + 1}"] = nn.Sequential(OrderedDict(unit01=unit))
            inputs = 4 * STEM * 2**index
        self.body = nn.Sequential(blocks)
        head = OrderedDict(gn=norm(inputs), conv=nn.Conv2d(inputs, CLASSES, 1))
        self.head = nn.Sequential(head)

    def forward(self, x):
        x = functional.max_pool2d(functional.pad(self.root(x), (1, 1, 1, 1)), 3, 2)
        x = functional.relu(self.head.gn(self.body(x)))
        return self.head.conv(x.mean((2, 3), keepdim=True))[:, :, 0, 0]


def make_network():
    """Returns the network and its optimiser after a step, so that momentum is in the file."""
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            offset = 1.0 if ".gn" in name and name.endswith("weight") else 0.0
            weight.copy_(offset + torch.round(torch.randn_like(weight) * 16) / 64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, nesterov=True)
    for weight in net.parameters():
        weight.grad = torch.round(torch.randn_like(weight) * 2)
    optimizer.step()
    return net, optimizer


def save(name, content, **options):
    """Writes NAME.gz."""
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    (HERE / f"{name}.gz").write_bytes(gzip.compress(stream.getvalue(), 9, mtime=0))


def one_storage(state):
    """The same values in float16: kernels channels_last, the rest views of one storage."""
    flat = torch.cat([v.half().reshape(-1) for v in state.values()])
    views = OrderedDict()
    for (name, value), part in zip(state.items(), flat.split([v.numel() for v in state.values()])):
        view = part.view(value.shape)
        channels_last = value.ndim == 4 and value.shape[1] > 1
        views[f"module.{name}"] = (
            view.contiguous(memory_format=torch.channels_last) if channels_last else view
        )
    return views


def tensors():
    """Everything that tensors in a file may be, and what they hold, as float64."""
    base = torch.arange(24.0).reshape(2, 3, 4) / 8
    cases = {
        "float32": base,
        "float64": base.double() + 1e-12,
        "float16": base.half(),
        "bfloat16": base.bfloat16(),
        "int64": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "transposed": base.permute(2, 0, 1),
        "every_other": base[:, :, ::2],
        "channels_last": base.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "expanded": torch.ones(1, 3).expand(4, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(base[0]),
    }
    return cases, {k: v.detach().double().contiguous().numpy() for k, v in cases.items()}


def main():
    """Writes every file."""
    net, optimizer = make_network()
    state = net.state_dict()
    config = OmegaConf.create({"data": {"mean": [0.5, 0.5, 0.5], "val_dir": None}})
    save(
        "pretrained.pth.tar",
        {"model": state, "optimizer": optimizer.state_dict(), "epoch": 3},
    )
    finetuned = {"step": 500, "model": state, "optim": optimizer.state_dict()}
    configs = {"pretrain_config": config, "finetune_config": config}
    save("finetuned.pth.tar", finetuned | configs, _use_new_zipfile_serialization=False)
    save("half.pth", one_storage(state))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 37, 50, 3)).astype(np.float32)
    with torch.no_grad():
        logits = net.double()(torch.from_numpy(images).double().permute(0, 3, 1, 2)).numpy()
    cases, expected = tensors()
    save("tensors.pth", cases)
    save("tensors_legacy.pth", cases, _use_new_zipfile_serialization=False)
    np.savez_compressed(HERE / "tensors.npz", **expected)
    np.savez(HERE / "logits.npz", logits=logits)  # of images drawn as above


if __name__ == "__main__":
    main()
