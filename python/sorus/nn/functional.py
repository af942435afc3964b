"""The operators under the names of torch.nn.functional."""

from .._core import operators

globals().update({name: f for name, f in operators.items() if "." not in name})
