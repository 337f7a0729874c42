"""Training in bfloat16: the losses of float32 up to rounding, the same weights and evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_torchreid import SIZE, liven, require_torchreid

require_torchreid()

from oamn_plugin.hosts.torchreid.builders import build_model, register_from  # noqa: E402
from oamn_plugin.hosts.torchreid.config import load_config  # noqa: E402
from oamn_plugin.modeling import precision  # noqa: E402

COMMON = ["model.pretrained", "False", "use_gpu", "False", "data.height", str(SIZE[0]), "data.width", str(SIZE[1])]


def built(name: str, amp: bool) -> Any:
    words = ["model.name", name, "loss.name", "triplet", "oamn.preset", "plus", "train.amp", str(amp)]
    cfg = load_config("", [*COMMON, *words])
    register_from(cfg)
    torch.manual_seed(0)
    model = build_model(cfg, 5)
    liven(model)
    return model


@pytest.mark.parametrize("name", ["osnet_x0_25", "mobilenetv2_x1_0", "oamn_osnet_x0_25"])
def test_training_is_in_bfloat16_and_everything_else_as_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)  # slow where emulated, but the same
    plain, half = built(name, False), built(name, True)
    assert list(plain.state_dict()) == list(half.state_dict())
    images = torch.randn(32, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    outputs = [model.train()(images) for model in (plain, half)]
    for exact, rounded in zip(*outputs, strict=True):
        assert rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded)
        assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.9
    sum(part.sum() for part in outputs[1]).backward()
    gradients = [parameter.grad for parameter in half.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)
    half.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(half.eval()(images), plain.eval()(images), rtol=0, atol=0)
