"""What is measured in training loops that stay in PyTorch."""

from thalweg.torch.record import Record
from thalweg.torch.tracker import Tracker, sharpness

__all__ = ["Record", "Tracker", "sharpness"]
