"""Optimizers in PyTorch's names; each rule is a row that prints, exports and fuses."""

from symgrad.optim import lr_scheduler
from symgrad.optim.foreign import Optax
from symgrad.optim.lbfgs import LBFGS
from symgrad.optim.matrix_optimizers import Adafactor, Muon
from symgrad.optim.optimizer import Optimizer
from symgrad.optim.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)
from symgrad.optim.row import Row, Slot
from symgrad.optim.rules import ROWS as rows

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optax",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Row",
    "Rprop",
    "Slot",
    "lr_scheduler",
    "rows",
]
