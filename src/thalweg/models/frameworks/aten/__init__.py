"""PyTorch's core operations as functions of JAX, by name; no PyTorch is needed to read them.

Names are those of `torch.export`'s programs after `run_decompositions`, without overloads. Each
function takes what the operation takes; where values tie, derivatives go the way PyTorch's go.
"""

from thalweg.models.frameworks.aten.elementwise import ELEMENTWISE
from thalweg.models.frameworks.aten.layers import LAYERS
from thalweg.models.frameworks.aten.recurrent import RECURRENT
from thalweg.models.frameworks.aten.reductions import REDUCTIONS
from thalweg.models.frameworks.aten.shapes import SHAPES

OPERATIONS = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **LAYERS, **RECURRENT}

__all__ = ["OPERATIONS"]
