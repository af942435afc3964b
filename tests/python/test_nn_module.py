"""What a Module does beside computing: names, state, hooks, copies, conversions, errors."""

import copy
import io
import pickle

import numpy as np
import pytest

import sorus
from sorus import nn
from sorus.models import GPT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))
        self.scale = nn.Parameter(sorus.ones([2]))
        self.register_buffer("offset", sorus.zeros([2]))
        self.register_buffer("scratch", sorus.zeros([1]), persistent=False)

    def forward(self, x, *, twice=False):
        y = self.rest(self.norm(self.first(x))) * self.scale + self.offset
        return y + y if twice else y


def test_names_in_order_of_registration():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "rest.1.weight",
    ]
    assert [n for n, _ in net.named_buffers()] == [
        "offset",
        "scratch",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert list(net.state_dict()) == [
        "scale",
        "offset",
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "rest.1.weight",
    ]
    assert [n for n, _ in net.named_modules()] == ["", "first", "norm", "rest", "rest.0", "rest.1"]
    assert [n for n, _ in net.named_children()] == ["first", "norm", "rest"]
    assert next(iter(net.children())) is net.first and next(iter(net.modules())) is net
    assert dict(net.named_parameters(prefix="m")).keys() == {f"m.{n}" for n, _ in net.named_parameters()}
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert net.get_submodule("rest.1") is net.rest[1] and net.get_parameter("rest.1.weight") is net.rest[1].weight
    assert net.num_parameters() == sum(p.numel() for p in net.parameters()) == 2 + 12 + 4 + 4 + 4 + 8


def test_one_object_per_tensor_and_module():
    net = Net()
    assert net.first.weight is net.first.weight and net.first is net.first
    assert next(iter(net.parameters())) is net.scale
    assert isinstance(net.first.weight, nn.Parameter) and not isinstance(net.offset, nn.Parameter)
    assert isinstance(net.rest, nn.Sequential) and isinstance(nn.TransformerEncoderLayer(4, 2).linear1, nn.Linear)


def test_replacing_a_parameter_or_a_child_replaces_what_forward_reads():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(sorus.eye(2) if hasattr(sorus, "eye") else sorus.tensor([[1.0, 0.0], [0.0, 1.0]]))
    layer.bias = None
    x = sorus.tensor([[1.0, 2.0]])
    assert layer(x).tolist() == [[1.0, 2.0]] and layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
    encoder.linear2 = nn.Sequential(nn.Linear(8, 4), nn.Threshold(1e9, 0.0))  # nothing comes through
    encoder.norm1, encoder.norm2 = nn.Identity(), nn.Identity()
    encoder.self_attn.out_proj = nn.Threshold(1e9, 0.0)
    x = sorus.randn(3, 1, 4)
    assert (encoder(x) == x).all()
    with pytest.raises(TypeError, match="a Linear cannot take the place of 'self_attn'"):
        encoder.self_attn = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="cannot assign a Tensor as parameter 'weight'"):
        layer.weight = sorus.ones([2, 2])
    del layer.weight
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'weight'"):
        _ = layer.weight


def test_tied_weights_are_one_parameter():
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    assert [n for n, _ in net.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    assert net["b"].weight is net["a"].weight and len(net.state_dict()) == 4


def test_load_state_dict_says_all_that_is_wrong():
    net = Net()
    state = net.state_dict()
    del state["scale"]
    state["extra"] = sorus.ones([1])
    state["first.weight"] = sorus.ones([4, 5])
    before = net.first.bias.tolist()
    state["first.bias"] = sorus.ones([4]) * 7
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert "loading state_dict for Net" in text and 'Missing key(s) in state_dict: "scale"' in text
    assert 'Unexpected key(s) in state_dict: "extra"' in text and "size mismatch for first.weight" in text
    assert "[4, 5]" in text and "[4, 3]" in text and net.first.bias.tolist() == before
    del state["first.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale", "first.weight"] and result.unexpected_keys == ["extra"]
    assert net.first.bias.tolist() == [7.0] * 4
    with pytest.raises(TypeError, match="'scale' is not a Tensor but float"):
        net.load_state_dict({"scale": 1.0})


def test_load_state_dict_assign_keeps_the_given_tensors():
    net, other = Net(), Net().double()
    net.load_state_dict(other.state_dict(), assign=True)
    assert net.first.weight.dtype == sorus.float64 and net.first.weight.requires_grad
    x = sorus.randn(5, 3, dtype=sorus.float64)
    assert (net.eval()(x) == other.eval()(x)).all()


def test_train_eval_and_gradients():
    net = Net()
    assert net.training and not net.eval().rest[1].training and net.train() is net and net.norm.training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(sorus.randn(4, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_visits_children_first():
    seen = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Sequential", "Net"]


def test_conversion_keeps_the_objects():
    net = Net()
    weight = net.first.weight
    optimizer = sorus.optim.SGD(net.parameters(), lr=0.1)
    assert net.to(sorus.float64) is net and net.first.weight is weight and weight.dtype == sorus.float64
    assert net.norm.num_batches_tracked.dtype == sorus.int64 and net.offset.dtype == sorus.float64
    assert optimizer.param_groups[0]["params"][1] is weight
    assert net.bfloat16()(sorus.randn(4, 3, dtype=sorus.bfloat16)).dtype == sorus.bfloat16
    assert nn.Linear(2, 2, dtype=sorus.float64).weight.dtype == sorus.float64
    with pytest.raises(RuntimeError, match="no device 'cuda'"):
        net.to("cuda")
    with pytest.raises(TypeError, match="floating point"):
        net.to(sorus.int64)


def test_hooks():
    net, calls = Net(), []

    def before(module, args):
        calls.append("pre")
        return (args[0] * 0,)

    def after(module, args, out):
        calls.append("post")
        return out + 1

    pre = net.register_forward_pre_hook(before)
    post = net.register_forward_hook(after)
    net.register_forward_hook(lambda m, args, kwargs, out: calls.append(kwargs), with_kwargs=True, prepend=True)
    net.eval()
    y = net(sorus.randn(2, 3), twice=True)
    assert calls == ["pre", {"twice": True}, "post"]
    pre.remove(), post.remove()
    assert not (net(sorus.randn(2, 3)) == y).all() and calls[3:] == [{}]


def test_hooks_that_are_always_called_see_failures():
    seen = []
    layer = nn.Linear(2, 3)
    layer.register_forward_hook(lambda module, args, output: seen.append("not after a failure"))
    layer.register_forward_hook(lambda module, args, output: seen.append(output), always_call=True)
    with pytest.raises(ValueError, match="linear"):
        layer(sorus.zeros(1, 5))
    assert seen == [None]
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="linear"):
        normed(sorus.zeros(1, 5))
    before = normed.weight
    with sorus.no_grad():
        normed.parametrizations.weight.original0.mul_(2.0)
    assert sorus.allclose(normed.weight, 2 * before)  # not the value of the call that failed


def test_hooks_on_parts_of_cpp_layers_are_called():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
    seen: list = []
    layer.linear1.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
    with layer.linear2.register_forward_pre_hook(lambda m, args: seen.append("linear2")):
        layer(sorus.randn(3, 2, 4))
    layer(sorus.randn(3, 2, 4))
    assert seen == [(3, 2, 8), "linear2", (3, 2, 8)]


def test_attention_inside_of_a_cpp_layer_has_hooks_and_may_be_replaced():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0).eval()
    x, seen = sorus.randn(3, 2, 4), []
    before = layer(x)
    handle = layer.self_attn.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((args[0].shape, kwargs["attn_mask"])), with_kwargs=True
    )
    mask = sorus.zeros(3, 3)
    assert sorus.equal(layer(x), before) and sorus.allclose(layer(x, src_mask=mask), before)
    assert seen[0] == ((3, 2, 4), None) and sorus.equal(seen[1][1], mask)
    handle.remove()
    with layer.self_attn.register_forward_hook(lambda m, args, out: (out[0] * 0, None)):
        silent = layer(x)
    assert not sorus.allclose(silent, before)

    class Deaf(nn.MultiheadAttention):
        def forward(self, query, key, value, **kwargs):
            output, weights = super().forward(query, key, value, **kwargs)
            return output * 0, weights

    layer.self_attn = Deaf(4, 2, dropout=0.0)
    assert sorus.equal(layer(x), silent) and sorus.equal(copy.deepcopy(layer)(x), silent)
    layer.self_attn.forward = lambda *args, **kwargs: args[0]
    with pytest.raises(TypeError, match="output and weights"):
        layer(x)


def test_a_python_layer_inside_of_a_cpp_model_is_called():
    class Double(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0).eval()
    x = sorus.randn(3, 2, 4)
    before = layer(x)
    replacement = Double(4, 8)
    replacement.load_state_dict(layer.linear1.state_dict())
    layer.linear1 = replacement
    assert not sorus.allclose(layer(x), before) if hasattr(sorus, "allclose") else (layer(x) != before).any()
    assert "(linear1): Double(in_features=4, out_features=8, bias=True)" in repr(layer)


@pytest.mark.parametrize(
    "make, shape",
    [
        (Net, (4, 3)),
        (lambda: nn.LSTM(3, 4, 2), (5, 2, 3)),
        (lambda: nn.Conv2d(2, 3, 3, padding="same"), (1, 2, 5, 5)),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), 2), (3, 1, 4)),
        (lambda: nn.GroupedQueryAttention(8, 4, 2), (1, 5, 8)),
        (lambda: nn.LSTMCell(3, 4), (2, 3)),
        (nn.PReLU, (64,)),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.BatchNorm1d(3, affine=False)), (4, 3)),
    ],
)
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_compute_the_same_and_share_nothing(make, shape, how):
    model = make().eval()
    x = sorus.randn(*shape)
    other = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    first = lambda out: out[0] if isinstance(out, tuple) else out  # noqa: E731
    assert (first(model(x)) == first(other(x))).all() and repr(model) == repr(other) and not other.training
    for p in other.parameters():
        with sorus.no_grad():
            p.mul_(0)
    assert (first(model(x)) != first(other(x))).any()


def test_copy_of_a_cpp_model():
    model = GPT(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16)
    other = copy.deepcopy(model)
    ids = sorus.tensor([[1, 2, 3]])
    assert (model(ids) == other(ids)).all()
    with sorus.no_grad():
        other.h[1].ln_1.weight.mul_(0)
    assert (model(ids) != other(ids)).any()
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in model.named_parameters()]


def test_containers():
    a, b, c = nn.Linear(1, 1), nn.Linear(2, 2), nn.Linear(3, 3)
    items = nn.ModuleList([a, b])
    items.append(c).insert(0, nn.ReLU())
    assert len(items) == 4 and items[-1] is c and list(items[1:3]) == [a, b] and items.pop() is c
    items[0] = c
    del items[1]
    assert list(items) == [c, b] and [n for n, _ in items.named_children()] == ["0", "1"]
    items += [a]
    assert len(items) == 3
    with pytest.raises(IndexError, match="out of range"):
        items[5]
    with pytest.raises(NotImplementedError, match="ModuleList: forward is not defined"):
        items(sorus.ones([1]))
    named = nn.ModuleDict({"x": a})
    named["y"] = b
    named.update({"z": c})
    assert list(named) == ["x", "y", "z"] and named.pop("y") is b and "y" not in named and named["z"] is c
    seq = nn.Sequential({"one": nn.Linear(2, 3), "two": nn.ReLU()})
    assert [n for n, _ in seq.named_parameters()] == ["one.weight", "one.bias"] and len(seq + seq) == 4
    params = nn.ParameterList([sorus.ones([2]), sorus.ones([3])])
    params.append(nn.Parameter(sorus.ones([4])))
    assert [n for n, _ in params.named_parameters()] == ["0", "1", "2"] and params[-1].shape == (4,)
    table = nn.ParameterDict({"u": sorus.ones([2])})
    table["v"] = sorus.ones([3])
    assert list(table.keys()) == ["u", "v"] and table["v"].requires_grad and len(list(table.parameters())) == 2


def test_plain_attributes_are_not_registered():
    net = Net()
    net.name, net.tensor = "x", sorus.ones([1])
    assert "tensor" not in net.state_dict() and net.name == "x"
    with pytest.raises(KeyError, match="with a dot"):
        net.register_parameter("a.b", nn.Parameter(sorus.ones([1])))
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        _ = net.nothing


def test_dropout_scales_and_draws_again_in_backward():
    sorus.manual_seed(3)
    x = sorus.ones([2000], dtype=sorus.float64).requires_grad_(True)
    y = nn.Dropout(0.25)(x)
    y.sum().backward()
    values = set(y.tolist())
    assert values == {0.0, 1 / 0.75} and 0.7 < (y.detach().numpy() != 0).mean() < 0.8
    assert (x.grad == y).all()
    rows = nn.Dropout2d(0.5)(sorus.ones([40, 5, 3, 3])).numpy().reshape(200, 9)
    assert set(np.unique(rows.min(1) == rows.max(1))) == {True} and {rows.min(), rows.max()} == {0.0, 2.0}
    assert (nn.Dropout(1.0)(x) == 0).all() and nn.Dropout(0.5).eval()(x) is not None
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
        nn.Dropout(1.5)


def test_wrong_shapes_name_the_layer():
    with pytest.raises(RuntimeError, match=r"Conv2d: expected \[batch, 3, height, width\].*got shape \[1, 4, 5, 5\]"):
        nn.Conv2d(3, 2, 3)(sorus.ones([1, 4, 5, 5]))
    with pytest.raises(ValueError, match="padding 'same' needs stride 1"):
        nn.Conv2d(3, 2, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match="'same', 'valid' or numbers, not 'some'"):
        nn.Conv1d(3, 2, 3, padding="some")
    with pytest.raises(ValueError, match="BatchNorm2d: expected an input of 4 dimensions"):
        nn.BatchNorm2d(3)(sorus.ones([2, 3]))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(sorus.ones([1, 3]))
    with pytest.raises(ValueError, match=r"LSTM: expected \[time, batch, 3\]"):
        nn.LSTM(3, 4)(sorus.ones([5, 2, 4]))
    with pytest.raises(ValueError, match=r"expected a state of shape \[1, 2, 4\], got \[2, 4\]"):
        nn.GRU(3, 4)(sorus.ones([5, 2, 3]), sorus.ones([2, 4]))
    with pytest.raises(ValueError, match="embed_dim 7 must be divisible by num_heads 2"):
        nn.MultiheadAttention(7, 2)
    with pytest.raises(ValueError, match="attn_mask must be"):
        q = sorus.ones([3, 1, 4])
        nn.MultiheadAttention(4, 2)(q, q, q, attn_mask=sorus.ones([2, 2]))
    with pytest.raises(ValueError, match="padding_idx 5 is not within 5"):
        nn.Embedding(5, 2, padding_idx=5)


def test_parameters_can_be_saved_as_bytes():
    p = pickle.loads(pickle.dumps(nn.Parameter(sorus.ones([2]), requires_grad=False)))
    assert (
        isinstance(p, nn.Parameter) and not p.requires_grad and isinstance(io.BytesIO(pickle.dumps(p)).read(), bytes)
    )
