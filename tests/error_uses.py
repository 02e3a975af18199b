"""Wrong uses of modules, optimizers, data loaders and gradients; ``t`` is either library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _params(t: Any) -> list[Any]:
    return [t.nn.Parameter(t.ones(2))]


def _with_grad(t: Any, value: float) -> Any:
    p = t.nn.Parameter(t.ones(1))
    p.grad = t.tensor([value])
    return [p]


def _twice(t: Any, use: Any) -> None:
    y = t.ones(1, requires_grad=True).exp().sum()
    use(y)
    use(y)


def _saved(t: Any) -> None:
    x = t.ones(2, requires_grad=True)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


USES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "modules": {
        "linear input": lambda t: t.nn.Linear(3, 2)(t.ones(2, 4)),
        "linear dtype": lambda t: t.nn.Linear(3, 2)(t.ones(2, 3, dtype=t.float64)),
        "linear ints": lambda t: t.nn.Linear(3, 2)(t.ones(2, 3, dtype=t.int64)),
        "linear list": lambda t: t.nn.Linear(3, 2)([1.0, 2.0, 3.0]),
        "linear sizes": lambda t: t.nn.Linear(3),
        "linear negative": lambda t: t.nn.Linear(-1, 2),
        "forward missing": lambda t: t.nn.Module()(t.ones(1)),
        "no super": lambda t: type(
            "M", (t.nn.Module,), {"__init__": lambda s: setattr(s, "a", t.nn.Linear(1, 1))}
        )(),
        "unknown attribute": lambda t: t.nn.Linear(1, 1).wieght,
        "parameter from list": lambda t: t.nn.Parameter([1.0]),
        "parameter by tensor": lambda t: setattr(t.nn.Linear(1, 1), "weight", t.ones(1, 1)),
        "state missing": lambda t: t.nn.Linear(1, 1).load_state_dict({}),
        "state shape": lambda t: t.nn.Linear(1, 1).load_state_dict(
            {"weight": t.ones(2, 1), "bias": t.ones(1)}
        ),
        "state unexpected": lambda t: t.nn.Linear(1, 1, bias=False).load_state_dict(
            {"weight": t.ones(1, 1), "bias": t.ones(1)}
        ),
        "state no dict": lambda t: t.nn.Linear(1, 1).load_state_dict([1]),
        "register name": lambda t: t.nn.Module().register_buffer("a.b", t.ones(1)),
        "register twice": lambda t: t.nn.Linear(1, 1).register_buffer("weight", t.ones(1)),
        "register none": lambda t: t.nn.Module().register_parameter("p", t.ones(1)),
        "add no module": lambda t: t.nn.Module().add_module("a", 3),
        "submodule missing": lambda t: t.nn.Linear(1, 1).get_submodule("x"),
        "parameter missing": lambda t: t.nn.Linear(1, 1).get_parameter("x"),
        "sequential of numbers": lambda t: t.nn.Sequential(3),
        "sequential index": lambda t: t.nn.Sequential(t.nn.ReLU())[3],
        "module list append": lambda t: t.nn.ModuleList().append(3),
        "module list call": lambda t: t.nn.ModuleList([t.nn.ReLU()])(t.ones(1)),
        "module dict key": lambda t: t.nn.ModuleDict()["a"],
        "conv channels": lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(1, 2, 8, 8)),
        "conv flat": lambda t: t.nn.Conv2d(1, 4, 3)(t.ones(2, 784)),
        "conv padding mode": lambda t: t.nn.Conv2d(3, 4, 3, padding_mode="mirror"),
        "conv no channels": lambda t: t.nn.Conv2d(3, 4, 3, groups=0),
        "lstm rank": lambda t: t.nn.LSTM(3, 4)(t.ones(3)),
        "lstm features": lambda t: t.nn.LSTM(3, 4)(t.ones(5, 2, 2)),
        "lstm state": lambda t: t.nn.LSTM(3, 4)(
            t.ones(5, 2, 3), (t.ones(1, 1, 4), t.ones(1, 1, 4))
        ),
        "lstm no pair": lambda t: t.nn.LSTM(3, 4)(t.ones(5, 2, 3), t.ones(1, 2, 4)),
        "gru state": lambda t: t.nn.GRU(3, 4)(t.ones(5, 2, 3), t.ones(1, 1, 4)),
        "rnn kind": lambda t: t.nn.RNN(3, 4, nonlinearity="gelu"),
        "lstm dropout": lambda t: t.nn.LSTM(3, 4, 2, dropout=2.0),
        "lstm hidden": lambda t: t.nn.LSTM(3, 0),
        "attention heads": lambda t: t.nn.MultiheadAttention(5, 2),
        "attention width": lambda t: t.nn.MultiheadAttention(4, 2)(
            t.ones(3, 1, 5), t.ones(3, 1, 5), t.ones(3, 1, 5)
        ),
        "attention mask": lambda t: t.nn.MultiheadAttention(4, 2)(
            t.ones(3, 1, 4), t.ones(3, 1, 4), t.ones(3, 1, 4), attn_mask=t.ones(2, 2)
        ),
        "attention causal": lambda t: t.nn.MultiheadAttention(4, 2)(
            t.ones(3, 1, 4), t.ones(3, 1, 4), t.ones(3, 1, 4), is_causal=True
        ),
        "transformer heads": lambda t: t.nn.TransformerEncoderLayer(5, 2),
        "embedding out": lambda t: t.nn.Embedding(3, 2)(t.tensor([3])),
        "embedding negative": lambda t: t.nn.Embedding(3, 2)(t.tensor([-1])),
        "embedding floats": lambda t: t.nn.Embedding(3, 2)(t.ones(2)),
        "embedding padding": lambda t: t.nn.Embedding(3, 2, padding_idx=5),
        "layer norm size": lambda t: t.nn.LayerNorm(4)(t.ones(2, 3)),
        "batch norm rank": lambda t: t.nn.BatchNorm1d(3)(t.ones(2, 3, 4, 5)),
        "group norm channels": lambda t: t.nn.GroupNorm(2, 4)(t.ones(1, 3, 2)),
        "dropout p": lambda t: t.nn.Dropout(2),
        "flatten dims": lambda t: t.nn.Flatten(0, 5)(t.ones(2, 3)),
        "unflatten": lambda t: t.nn.Unflatten(1, (2, 2))(t.ones(2, 3)),
        "pool kernel": lambda t: t.nn.MaxPool2d(9)(t.ones(1, 1, 4, 4)),
        "upsample none": lambda t: t.nn.Upsample()(t.ones(1, 1, 2, 2)),
        "softmax dim": lambda t: t.nn.Softmax(3)(t.ones(2, 2)),
        "ce reduction": lambda t: t.nn.CrossEntropyLoss(reduction="avg")(
            t.ones(2, 3), t.tensor([0, 1])
        ),
        "nll class": lambda t: t.nn.NLLLoss()(t.ones(2, 3), t.tensor([0, 7])),
        "ce classes as column": lambda t: t.nn.CrossEntropyLoss()(
            t.ones(2, 3), t.tensor([[0], [1]])
        ),
        "bce with ints": lambda t: t.nn.BCELoss()(t.ones(2), t.ones(2, dtype=t.int64)),
        "bcel with ints": lambda t: t.nn.BCEWithLogitsLoss()(t.ones(2), t.ones(3)),
        "hinge margin": lambda t: t.nn.TripletMarginLoss()(
            t.ones(2, 3), t.ones(2, 4), t.ones(2, 3)
        ),
        "to text": lambda t: t.nn.Linear(1, 1).to("float99"),
        "to ints": lambda t: t.nn.Linear(1, 1).to(t.int64),
        "requires_grad text": lambda t: t.nn.init.kaiming_uniform_(t.ones(2)),
        "xavier of vector": lambda t: t.nn.init.xavier_uniform_(t.ones(2)),
        "gain unknown": lambda t: t.nn.init.calculate_gain("gelu2"),
        "orthogonal of vector": lambda t: t.nn.init.orthogonal_(t.ones(3)),
        "clip of nan": lambda t: t.nn.utils.clip_grad_norm_(
            _with_grad(t, float("nan")), 1.0, error_if_nonfinite=True
        ),
        "pack lengths": lambda t: t.nn.utils.rnn.pack_padded_sequence(
            t.ones(3, 2, 1), t.tensor([1, 3])
        ),
        "pad nothing": lambda t: t.nn.utils.rnn.pad_sequence([]),
        "parameters to vector": lambda t: t.nn.utils.parameters_to_vector([]),
        "train word": lambda t: t.nn.Linear(1, 1).train("yes"),
    },
    "optim": {
        "no parameters": lambda t: t.optim.SGD([], lr=0.1),
        "a tensor": lambda t: t.optim.SGD(t.ones(1, requires_grad=True), lr=0.1),
        "a module": lambda t: t.optim.SGD(t.nn.Linear(1, 1), lr=0.1),
        "numbers": lambda t: t.optim.Adam([1.0]),
        "no leaf": lambda t: t.optim.Adam([t.ones(1, requires_grad=True) * 2]),
        "negative rate": lambda t: t.optim.Adam(_params(t), lr=-1.0),
        "text rate": lambda t: t.optim.Adam(_params(t), lr="fast"),
        "beta": lambda t: t.optim.Adam(_params(t), betas=(0.9, 1.0)),
        "momentum": lambda t: t.optim.SGD(_params(t), lr=0.1, momentum=-1),
        "nesterov": lambda t: t.optim.SGD(_params(t), lr=0.1, nesterov=True),
        "unknown option": lambda t: t.optim.SGD(_params(t), lr=0.1, rate=1),
        "twice": lambda t: t.optim.SGD([{"params": (p := _params(t))}, {"params": p}], lr=0.1),
        "group no dict": lambda t: t.optim.SGD(_params(t), lr=0.1).add_param_group([1]),
        "group of set": lambda t: t.optim.SGD([{"params": set(_params(t))}], lr=0.1),
        "group without params": lambda t: t.optim.SGD([{"lr": 0.1}]),
        "state groups": lambda t: t.optim.SGD(_params(t), lr=0.1).load_state_dict(
            {"state": {}, "param_groups": []}
        ),
        "state sizes": lambda t: t.optim.SGD(_params(t), lr=0.1).load_state_dict(
            t.optim.SGD([*_params(t), *_params(t)], lr=0.1).state_dict()
        ),
        "lbfgs two groups": lambda t: t.optim.LBFGS(
            [{"params": _params(t)}, {"params": _params(t)}]
        ),
        "lbfgs no closure": lambda t: t.optim.LBFGS(_params(t)).step(),
        "muon of vector": lambda t: t.optim.Muon(_params(t)),
        "adafactor d": lambda t: t.optim.Adafactor(_params(t), d=0.5),
        "scheduler no optimizer": lambda t: t.optim.lr_scheduler.StepLR(_params(t), 1),
        "scheduler step size": lambda t: t.optim.lr_scheduler.StepLR(t.optim.SGD(_params(t), 0.1)),
        "plateau mode": lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(
            t.optim.SGD(_params(t), 0.1), "most"
        ),
        "plateau factor": lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(
            t.optim.SGD(_params(t), 0.1), factor=1.0
        ),
        "plateau no metric": lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(
            t.optim.SGD(_params(t), 0.1)
        ).step(),
        "lambdas": lambda t: t.optim.lr_scheduler.LambdaLR(
            t.optim.SGD(_params(t), 0.1), [lambda e: 1, lambda e: 1]
        ),
        "one cycle": lambda t: t.optim.lr_scheduler.OneCycleLR(t.optim.SGD(_params(t), 0.1), 0.1),
        "one cycle steps": lambda t: t.optim.lr_scheduler.OneCycleLR(
            t.optim.SGD(_params(t), 0.1), 0.1, total_steps=-1
        ),
        "cosine restarts": lambda t: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            t.optim.SGD(_params(t), 0.1), 0
        ),
        "sequential": lambda t: t.optim.lr_scheduler.SequentialLR(
            t.optim.SGD(_params(t), 0.1), [], []
        ),
        "linear factor": lambda t: t.optim.lr_scheduler.LinearLR(
            t.optim.SGD(_params(t), 0.1), start_factor=2.0
        ),
        "cyclic": lambda t: t.optim.lr_scheduler.CyclicLR(
            t.optim.Adam(_params(t)), 0.1, 0.2, cycle_momentum=True, mode="x"
        ),
    },
    "data": {
        "sizes": lambda t: t.utils.data.TensorDataset(t.ones(2), t.ones(3)),
        "batch size 0": lambda t: t.utils.data.DataLoader([1, 2], batch_size=0),
        "workers": lambda t: t.utils.data.DataLoader([1, 2], num_workers=-1),
        "sampler and shuffle": lambda t: t.utils.data.DataLoader(
            [1, 2], shuffle=True, sampler=t.utils.data.SequentialSampler([1, 2])
        ),
        "batch sampler and size": lambda t: t.utils.data.DataLoader(
            [1, 2], batch_size=2, batch_sampler=[[0], [1]]
        ),
        "drop last without batch": lambda t: t.utils.data.DataLoader(
            [1, 2], batch_size=None, drop_last=True
        ),
        "collate ragged": lambda t: next(
            iter(t.utils.data.DataLoader([t.ones(2), t.ones(3)], batch_size=2))
        ),
        "collate objects": lambda t: next(iter(t.utils.data.DataLoader([object()]))),
        "collate none": lambda t: next(iter(t.utils.data.DataLoader([None]))),
        "random sampler empty": lambda t: t.utils.data.RandomSampler([]),
        "random sampler count": lambda t: t.utils.data.RandomSampler([1], num_samples=-1),
        "random sampler words": lambda t: t.utils.data.RandomSampler([1], replacement=3),
        "batch sampler": lambda t: t.utils.data.BatchSampler([1], 0, False),
        "split sum": lambda t: t.utils.data.random_split([1, 2, 3], [1, 1]),
        "split shares": lambda t: t.utils.data.random_split([1, 2, 3], [0.9, 0.9]),
        "subset out": lambda t: t.utils.data.Subset([1, 2], [5])[0],
        "concat nothing": lambda t: t.utils.data.ConcatDataset([]),
        "dataset": lambda t: t.utils.data.Dataset()[0],
        "length of stream": lambda t: len(
            t.utils.data.DataLoader(
                type("D", (t.utils.data.IterableDataset,), {"__iter__": lambda s: iter([1])})()
            )
        ),
        "shuffle stream": lambda t: t.utils.data.DataLoader(
            type("D", (t.utils.data.IterableDataset,), {"__iter__": lambda s: iter([1])})(),
            shuffle=True,
        ),
        "index out": lambda t: t.utils.data.TensorDataset(t.ones(2))[5],
        "weighted": lambda t: t.utils.data.WeightedRandomSampler([1.0], -1),
        "timeout": lambda t: t.utils.data.DataLoader([1], timeout=-1),
    },
    "autograd": {
        "backward of no graph": lambda t: t.ones(1).backward(),
        "backward of matrix": lambda t: t.ones(2, 2, requires_grad=True).mul(2).backward(),
        "backward twice": lambda t: _twice(t, lambda y: y.backward()),
        "gradient shape": lambda t: t.ones(2, requires_grad=True).mul(2).backward(t.ones(3)),
        "gradient number": lambda t: t.ones(2, requires_grad=True).mul(2).backward(1.0),
        "grad unused": lambda t: t.autograd.grad(
            t.ones(1, requires_grad=True).sum(), t.ones(1, requires_grad=True)
        ),
        "grad of no graph": lambda t: t.autograd.grad(t.ones(1).sum(), t.ones(1)),
        "grad of leaf without": lambda t: t.autograd.grad(
            t.ones(1, requires_grad=True).sum(), t.ones(1)
        ),
        "grad outputs": lambda t: t.autograd.grad((x := t.ones(2, requires_grad=True)) * 2, x),
        "in place on leaf": lambda t: t.ones(1, requires_grad=True).add_(1),
        "in place on view of leaf": lambda t: t.ones(2, requires_grad=True)[0].add_(1),
        "assign in leaf": lambda t: t.ones(2, requires_grad=True).__setitem__(0, 1.0),
        "in place on saved": _saved,
        "requires_grad of product": lambda t: (
            t.ones(1, requires_grad=True).mul(2).requires_grad_(False)
        ),
        "set requires_grad of product": lambda t: setattr(
            t.ones(1, requires_grad=True).mul(2), "requires_grad", False
        ),
        "set grad shape": lambda t: setattr(t.ones(2, requires_grad=True), "grad", t.ones(3)),
        "set grad dtype": lambda t: setattr(
            t.ones(2, requires_grad=True), "grad", t.ones(2, dtype=t.float64)
        ),
        "set grad number": lambda t: setattr(t.ones(2, requires_grad=True), "grad", 1.0),
        "numpy of tracked": lambda t: t.ones(1, requires_grad=True).numpy(),
        "array of view": lambda t: t.ones(2, requires_grad=True).mul(2).numpy(),
        "bool of several": lambda t: bool(t.ones(2)),
        "int of several": lambda t: int(t.ones(2)),
        "float of several": lambda t: float(t.ones(2)),
        "len of number": lambda t: len(t.tensor(1.0)),
        "iterate number": lambda t: list(t.tensor(1.0)),
        "index by tracked": lambda t: range(3)[t.ones(1)],
        "deepcopy of product": lambda t: __import__("copy").deepcopy(
            t.ones(1, requires_grad=True) * 2
        ),
        "hook on constant": lambda t: t.ones(1).register_hook(lambda g: g),
        "retain_grad": lambda t: t.ones(1).retain_grad(),
        "jacobian of number": lambda t: t.autograd.functional.jacobian(lambda x: 3.0, t.ones(2)),
        "hessian of vector": lambda t: t.autograd.functional.hessian(lambda x: x * x, t.ones(2)),
        "func grad of vector": lambda t: t.func.grad(lambda x: x * 2)(t.ones(2)),
        "vmap sizes": lambda t: t.func.vmap(lambda x, y: x + y)(t.ones(2), t.ones(3)),
        "vmap of number": lambda t: t.func.vmap(lambda x: x)(t.tensor(1.0)),
        "vmap item": lambda t: t.func.vmap(lambda x: x.item())(t.ones(2)),
        "set_detect": lambda t: t.autograd.gradcheck(lambda x: x, t.ones(2)),
    },
}
