"""Is a candidate as good as the incumbent? Statistics on live pairs that hold at every look."""
