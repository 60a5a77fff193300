"""Spiking networks: a neuron with a threshold, its surrogate derivative, nets run over steps."""
