"""Many dynamics and seeds at once, and the map of regimes over what differs between them."""
