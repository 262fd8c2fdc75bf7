"""Training of the networks on simulated dark bursts."""
