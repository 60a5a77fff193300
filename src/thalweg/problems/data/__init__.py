"""Where data come from: arrays, tables, files, images, random and structured sets."""
