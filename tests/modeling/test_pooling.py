from __future__ import annotations

import pytest
import torch

from oamn_plugin.modeling.pooling import GeneralizedMean, build_pooling


@pytest.mark.parametrize("size", [(4, 2), (5, 3), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_generalised_mean_is_that_of_a_loop(size: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pool = GeneralizedMean(3.0).to(dtype)
    features = torch.randn(2, 3, *size, dtype=dtype, requires_grad=True)
    found = pool(features)
    assert found.shape == (2, 3, 1, 1)
    assert found.dtype == dtype
    for n in range(2):
        for c in range(3):
            total = sum(max(float(value), 1e-6) ** 3 for value in features[n, c].flatten())
            assert float(found[n, c]) == pytest.approx((total / (size[0] * size[1])) ** (1 / 3), rel=1e-4)
    found.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert pool.p.grad is not None
    assert pool.p.grad.isfinite().all()


def test_the_exponent_leads_from_the_average_to_the_maximum() -> None:
    features = torch.rand(2, 3, 4, 2) + 0.1
    torch.testing.assert_close(GeneralizedMean(1.0)(features), build_pooling("avg")(features))
    torch.testing.assert_close(GeneralizedMean(200.0)(features), build_pooling("max")(features), rtol=0.02, atol=0)


def test_half_precision_is_pooled_in_float32() -> None:
    features = torch.full((1, 1, 2, 2), 100.0).half()  # its third power is infinite in half precision
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GeneralizedMean()(features)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(100.0, rel=1e-4)
