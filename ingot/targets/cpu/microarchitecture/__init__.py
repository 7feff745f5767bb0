"""What a processor's cores, caches and threads can do: the cost model, as data with sources."""
