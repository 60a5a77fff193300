"""The kit of studies: what a paper is as data, claims that can fail, the page of a rerun."""
