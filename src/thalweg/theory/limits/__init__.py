"""Where training ends: largest margin, least norm, and how fast."""
