"""Networks of other frameworks as models; a framework is imported when one of its own comes."""

from thalweg.models.frameworks.flax_modules import from_flax
from thalweg.models.frameworks.haiku_functions import from_haiku
from thalweg.models.frameworks.keras_models import from_keras
from thalweg.models.frameworks.network import Network
from thalweg.models.frameworks.torch_modules import from_torch

__all__ = ["Network", "from_flax", "from_haiku", "from_keras", "from_torch"]
