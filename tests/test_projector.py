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


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [("linear", {}, "linear"), ("mlp", {"heads": 4}, "heads"), ("paper", {"width": 30}, "30")],
)
def test_what_no_projector_has_is_refused(kind, settings, named):
    with pytest.raises(ValueError, match=named):
        build_projector(kind, 1, 2, 3, **settings)


def test_the_papers_network_has_the_papers_size():
    width, forward = 768, 4 * 768
    attention = 2 * (width * width + width)  # values and output, without queries and keys
    block = attention + (width * forward + forward) + (forward * width + width) + 4 * width  # norms
    expected = (4 * 768 * width + width) + 2 * block + 2 * width + (width * 384 + 384)
    projector = build_projector("paper", layers=4, dim=768, dimensions=384)
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


def test_dropout_drops_a_tenth_keeps_the_mean_and_is_for_training_only():
    factors = dropped_out(torch.empty(401, 499))  # an odd number, as bits are drawn for four
    assert factors.unique().tolist() == [0, pytest.approx(1 / 0.9, rel=1e-4)]
    assert (factors == 0).float().mean().item() == pytest.approx(0.1, abs=0.004)
    assert factors.mean().item() == pytest.approx(1, abs=0.005)
    of_rows, of_columns = (factors == 0).float().mean(1), (factors == 0).float().mean(0)
    assert max(of_rows.std(), of_columns.std()) < 0.02  # binomial: .013 and .015
    projector = build_projector("paper", layers=1, dim=16, dimensions=8, width=32)
    items = torch.randn(6, 1, 16)
    assert not torch.equal(projector.train()(items), projector(items))
    assert torch.equal(projector.eval()(items), projector(items))


@pytest.mark.parametrize("rows", [8192, 7])
def test_ridge_is_scikit_learns_in_whatever_parts(rows, monkeypatch):
    monkeypatch.setattr(ridge, "ROWS", rows)
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 2, 5)).astype(np.float32)
    targets = random.normal(size=(40, 3)).astype(np.float32)
    weights = random.uniform(0.5, 2, size=40).astype(np.float32)
    x, penalty = torch.from_numpy(values), 0.3
    projector = fit_ridge(x, torch.from_numpy(targets), penalty, torch.from_numpy(weights))
    share = weights / weights.sum()
    centred = values.reshape(40, 10) - share @ values.reshape(40, 10)
    variance = (share[:, None] * centred**2).sum(0).mean()
    reference = Ridge(alpha=penalty * variance, fit_intercept=False)
    reference.fit(centred, targets, sample_weight=share)
    np.testing.assert_allclose(projector(x).numpy(), reference.predict(centred), atol=1e-5)


def test_ridge_without_penalty_reaches_targets_it_can_reach():
    values = torch.randn(4, 1, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1.0], [2.0], [-4.0], [1.0]])  # mean 0, fewer items than features
    torch.testing.assert_close(fit_ridge(values, targets, 0.0)(values), targets, atol=1e-4, rtol=0)


def test_label_penalty_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # two labels that mean the same
    smoother = ridge.label_smoother(vectors, 3.0)
    # EᵀE = diag(2, 1), so (EᵀE + 3)⁻¹ = diag(1/5, 1/4): the twins count less than twice
    torch.testing.assert_close(smoother, torch.diag(torch.tensor([1 / 5, 1 / 4])))
    torch.testing.assert_close(ridge.label_smoother(vectors, None), torch.eye(2))


@pytest.mark.parametrize(
    ("value", "items", "penalty", "named"),
    [(np.nan, 4, 1.0, "finite"), (np.inf, 4, 1.0, "finite"), (1e300, 4, 1.0, "finite"),
     (1.0, 1, 1.0, "targets"), (1.0, 4, -1.0, "penalty")],
)  # fmt: skip
def test_what_a_ridge_cannot_be_fitted_to_is_refused(value, items, penalty, named):
    x = torch.ones(4, 1, 2, dtype=torch.float64)
    x[0] = value
    with pytest.raises(ValueError, match=named):
        fit_ridge(x, torch.ones(items, 1), penalty)  # one target would broadcast
