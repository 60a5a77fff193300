"""The main job in one call: both runs of a problem, their comparison, its page."""
