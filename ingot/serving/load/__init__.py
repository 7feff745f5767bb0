"""Load on a server: requests in a closed loop or at random times, and what became of them."""
