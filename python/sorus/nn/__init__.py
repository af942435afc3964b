"""Layers. They are C++ classes (sorus::nn); a subclass of Module in Python registers what is assigned to it."""

from .._core._nn import (
    GRU,
    LSTM,
    RNN,
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Bilinear,
    CausalSelfAttention,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Dropout,
    Embedding,
    Flatten,
    GroupedQueryAttention,
    GroupNorm,
    Identity,
    KeyValueCache,
    LayerNorm,
    Linear,
    MaxPool1d,
    MaxPool2d,
    MultiheadAttention,
    RMSNorm,
    TransformerEncoderLayer,
    Unflatten,
)

from .module import Module  # isort: skip  (the others build on it)
from . import functional, init, parallel, utils
from .activation import *
from .activation import CELU, ELU, GELU, GLU, SELU, LogSigmoid, LogSoftmax, ReLU, Softmax
from .adaptive import *
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .families import (
    _BatchNorm,
    _ConvNd,
    _ConvTransposeNd,
    _InstanceNorm,
    _NormBase,
    _ntuple,
    _pair,
    _single,
    _triple,
)  # isort: skip
from .layers import *
from .lazy import *
from .loss import *
from .loss import _Loss
from .parallel import DataParallel
from .parameter import Buffer, Parameter
from .sync_norm import *
from .transformer import Transformer, TransformerDecoder, TransformerDecoderLayer
from .volumes import *
