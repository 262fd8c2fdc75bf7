"""Simulated bursts: what a camera sees and notes in the dark, and the files it writes."""
