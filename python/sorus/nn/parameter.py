from .._core import Tensor


class Parameter(Tensor):
    """A tensor that a Module trains once it is assigned to one of its attributes."""

    def __init__(self, data: Tensor, requires_grad: bool = True):
        super().__init__(data.detach())
        self.requires_grad_(requires_grad)
