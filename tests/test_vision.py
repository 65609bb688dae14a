"""torchvision and pytorch-fid can be imported on every machine."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_and_pytorch_fid_import_in_a_fresh_process():
    result = run(
        "from sintro.data.vision import torchvision, declare_missing_operators\n"
        "import pytorch_fid.inception\n"
        "assert torchvision.datasets.MNIST and declare_missing_operators() == []"
    )
    assert result.returncode == 0, result.stderr


def test_operators_that_exist_are_left_alone():
    result = run(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "library.impl('nms', lambda dets, scores, iou_threshold: dets, 'CPU')\n"
        "import sintro.data.vision\n"
        "assert sintro.data.vision._declared == []\n"
        "assert torch.ops.torchvision.nms(torch.ones(1, 4), torch.ones(1), 0.5).sum() == 4"
    )
    assert result.returncode == 0, result.stderr
