"""Projectors: one interface, what each kind claims of itself, and the ridge in closed form."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from mer_utils.projector import PROJECTORS, build_projector, fit_ridge, ridge
from mer_utils.projector.networks import HEADS, OneTokenBlock, dropped_out


@pytest.mark.parametrize("kind", PROJECTORS)
def test_one_interface(kind):
    projector = build_projector(kind, layers=4, dim=16, dimensions=6)
    values = torch.randn(5, 4, 16)
    assert projector(values).shape == (5, 6)
    again = build_projector(**projector.config)
    again.load_state_dict(projector.state_dict(), strict=True)
    torch.testing.assert_close(again.eval()(values), projector.eval()(values))


def test_the_papers_network_has_the_papers_size():
    projector = build_projector("paper", layers=4, dim=768, dimensions=384)
    width, forward = 768, 4 * 768
    block = (
        2 * (width * width + width)  # values and output of the attention, without queries and keys
        + (width * forward + forward)
        + (forward * width + width)
        + 4 * width  # two layer norms
    )
    expected = (4 * 768 * width + width) + 2 * block + 2 * width + (width * 384 + 384)
    assert sum(p.numel() for p in projector.parameters()) == expected


def test_a_block_is_pytorchs_over_one_token():
    whole = nn.TransformerEncoderLayer(32, HEADS, 128, batch_first=True).eval()
    for values in whole.parameters():
        nn.init.normal_(values, std=0.2)
    block = OneTokenBlock(32).eval()
    weights = whole.state_dict()
    weights["values.weight"] = weights.pop("self_attn.in_proj_weight")[64:]
    weights["values.bias"] = weights.pop("self_attn.in_proj_bias")[64:]
    block.load_state_dict({k.replace("self_attn.out_proj", "out"): v for k, v in weights.items()})
    items = torch.randn(6, 32, requires_grad=True)
    ours, theirs = block(items), whole(items[:, None])[:, 0]
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(x.square().sum(), items)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_dropout_drops_a_tenth_and_keeps_the_mean():
    factors = dropped_out(torch.empty(401, 499))  # an odd number, as bits are drawn for four
    assert factors.unique().tolist() == [0, pytest.approx(1 / 0.9, rel=1e-4)]
    assert (factors == 0).float().mean().item() == pytest.approx(0.1, abs=0.004)
    assert factors.mean().item() == pytest.approx(1, abs=0.005)
    of_rows, of_columns = (factors == 0).float().mean(1), (factors == 0).float().mean(0)
    assert max(of_rows.std(), of_columns.std()) < 0.02  # binomial: .013 and .015


def test_dropout_is_for_training_only():
    projector = build_projector("paper", layers=1, dim=16, dimensions=8, width=32)
    items = torch.randn(6, 1, 16)
    assert not torch.equal(projector.train()(items), projector(items))
    assert torch.equal(projector.eval()(items), projector(items))


def test_ridge_is_scikit_learns():
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 2, 5)).astype(np.float32)
    targets = random.normal(size=(40, 3)).astype(np.float32)
    weights = random.uniform(0.5, 2, size=40).astype(np.float32)
    penalty = 0.3
    projector = fit_ridge(
        *map(torch.from_numpy, (values, targets)), penalty, torch.from_numpy(weights)
    )
    flat = values.reshape(40, 10)
    share = weights / weights.sum()
    centred = flat - share @ flat
    variance = (share[:, None] * centred**2).sum(0).mean()
    reference = Ridge(alpha=penalty * variance, fit_intercept=False)
    reference.fit(centred, targets, sample_weight=share)
    np.testing.assert_allclose(
        projector(torch.from_numpy(values)).numpy(), reference.predict(centred), atol=1e-5
    )


def test_ridge_without_penalty_reaches_targets_it_can_reach():
    values = torch.randn(4, 1, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1.0], [2.0], [-4.0], [1.0]])  # mean 0, fewer items than features
    projector = fit_ridge(values, targets, penalty=0.0)
    torch.testing.assert_close(projector(values), targets, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="targets"):
        fit_ridge(values, targets[:1], penalty=1.0)  # would broadcast


def test_ridge_in_parts_is_the_same_ridge(monkeypatch):
    torch.manual_seed(0)
    values, targets, weights = torch.randn(50, 2, 6), torch.randn(50, 3), torch.rand(50)
    whole = fit_ridge(values, targets, 2.0, weights)
    monkeypatch.setattr(ridge, "ROWS", 7)
    parts = fit_ridge(values, targets, 2.0, weights)
    torch.testing.assert_close(parts.weight, whole.weight)
    torch.testing.assert_close(parts.offset, whole.offset)


def test_label_penalty_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # two labels that mean the same
    smoother = ridge.label_smoother(vectors, 3.0)
    # EᵀE = diag(2, 1), so (EᵀE + 3)⁻¹ = diag(1/5, 1/4): the twins count less than twice
    torch.testing.assert_close(smoother, torch.diag(torch.tensor([1 / 5, 1 / 4])))
    torch.testing.assert_close(ridge.label_smoother(vectors, None), torch.eye(2))


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [("linear", {}, "linear"), ("mlp", {"heads": 4}, "heads"), ("paper", {"width": 30}, "30")],
)
def test_errors(kind, settings, named):
    with pytest.raises(ValueError, match=named):
        build_projector(kind, 1, 2, 3, **settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_ridge_on_what_is_no_number_is_refused(value):
    x = torch.ones(4, 1, 2, dtype=torch.float64)
    x[0] = value
    with pytest.raises(ValueError, match="fit_ridge"):
        fit_ridge(x, torch.ones(4, 1), 1.0)
