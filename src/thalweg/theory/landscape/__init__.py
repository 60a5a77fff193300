"""The landscape: regions, singular values of layers, Polyak-Lojasiewicz constants."""
