"""The landscape: regions, singular values of layers, expressivity, Polyak-Lojasiewicz constants."""
