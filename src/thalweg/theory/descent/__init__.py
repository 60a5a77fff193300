"""What descent is promised: Euler's error, certified steps, geometric rates."""
